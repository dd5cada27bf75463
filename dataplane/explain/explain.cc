// SPDX-License-Identifier: Apache-2.0
#include "dataplane/explain/explain.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "dataplane/common/address.h"
#include "dataplane/common/hex.h"
#include "dataplane/steer/decide.h"
#include "link.pb.h"

namespace keyrail::explain {
namespace {

std::string_view name_of(Reason reason) {
    return reason == Reason::count ? "held" : kReasonTexts[static_cast<size_t>(reason)].name;
}
std::string_view text_of(Reason reason) {
    return reason == Reason::count ? "held until its session has come"
                                   : kReasonTexts[static_cast<size_t>(reason)].text;
}
std::string_view name_of(Action action) {
    static constexpr std::array<std::string_view, 6> kNames = {"drop", "forward", "reply",
                                                               "punt", "hold",    "handoff"};
    return kNames[static_cast<size_t>(action)];
}
std::string_view text_of(Intake intake) {
    static constexpr std::array<std::string_view, 4> kTexts = {"takes no new clients", "is draining",
                                                               "is overloaded", "takes new clients"};
    return kTexts[static_cast<size_t>(intake)];
}

bool read_address(const std::string& bytes, Address& out) {
    const auto read = address_of_bytes(bytes);
    if (read) out = read->mapped();
    return read.has_value();
}

/// Of one explanation.
class Explanation {
  public:
    Explanation(Shadow& shadow, const link::ExplainRequest& request, const Headers& connection,
                const Snapshot& snapshot, const Observed& seen)
        : shadow_(shadow), request_(request), connection_(connection), snapshot_(snapshot), seen_(seen) {}

    Result<link::Explained> make() {
        out_.set_worker(seen_.worker);
        if (!tell_service()) return std::move(out_);
        tell_flow();
        if (auto run = run_client(); !run) return tl::make_unexpected(run.error());
        if (hello_) tell_hello();
        tell_end();
        if (const BladeId asked = BladeId::or_none(request_.why_not()); asked != 0) tell_why_not(asked);
        return std::move(out_);
    }

  private:
    template <typename... Words>
    void step(std::string_view what, fmt::format_string<Words...> text, Words&&... words) {
        link::Explained::Step& one = *out_.add_steps();
        one.set_what(std::string(what));
        one.set_text(fmt::format(text, std::forward<Words>(words)...));
    }

    bool tell_service() {
        const uint16_t index =
            snapshot_.find(connection_.tuple.destination, connection_.tuple.destination_port);
        if (index == kNoService) {
            step("service", "none is at this address and port");
            if (auto outcome = shadow_.run(client().syn())) last_ = outcome->exit;
            add_packet("SYN", last_);
            tell_end();
            return false;
        }
        service_ = &snapshot_.services[index];
        out_.set_service(service_->name);
        step("service", "{}: {}", service_->name,
             !service_->by_session ? "each connection by its addresses and ports"
             : service_->late      ? "by session names, late binding: the dispatcher answers the SYN"
                                   : "by session names, early binding: a blade gets the SYN");
        return true;
    }

    void tell_flow() {
        if (seen_.flow) {
            const Flow& flow = *seen_.flow;
            const bool live = snapshot_.blades[flow.blade()].flows_live;
            step("flow", "worker {} knows the connection: blade {}{}{}", seen_.worker, flow.blade(),
                 flow.ended()       ? ", over"
                 : flow.client_done ? ", its client has finished"
                                    : "",
                 live ? "" : ", which is gone: it is bound anew");
        } else {
            step("flow", "worker {} does not know the connection", seen_.worker);
        }
        if (seen_.hold)
            step("hold", "a ClientHello of it is being held now: {}",
                 *seen_.hold == HoldPhase::moving
                     ? fmt::format("its session is on the way to blade {}", seen_.hold_target)
                     : std::string("it is not complete"));
    }

    [[nodiscard]] Client client() const {
        const auto front = std::ranges::find(shadow_.ports().list, PortRole::front, &Port::role);
        return {connection_, front == shadow_.ports().list.end() ? MacAddress{} : front->mac};
    }

    Result<void> run_client() {
        Client client = this->client();
        auto syn = shadow_.run(client.syn());
        if (!syn) return fail("no front port, or no packet memory left: raise memory.mbufs in the profile");
        add_packet("SYN", last_ = syn->exit);
        step("SYN", "{}{}", text_of(syn->exit.reason), towards(syn->exit));
        const bool answered = syn->exit.action == Action::reply && syn->exit.reason == Reason::syn_cookie;
        if (!answered && syn->exit.action != Action::forward) return {};
        if (answered) client.answered(syn->frame);
        if (auto ack = shadow_.run(client.acknowledgement())) add_packet("acknowledgement", ack->exit);
        const Bytes stream = first_data();
        uint32_t last = 0;
        for (const Bytes& frame : client.data(stream)) {
            auto data = shadow_.run(frame);
            if (!data) return fail("no packet memory left: raise memory.mbufs in the profile");
            if (data->hello) hello_ = std::move(data->hello);
            last_ = data->exit;
            last = data->exit.packet;
        }
        if (hello_) decided_by_hello(last);
        add_packet("ClientHello", last_);
        for (const MoveAsk& ask : shadow_.asks()) {
            out_.set_move_from(ask.from);
            budget_us_ = ask.budget_us;
        }
        return {};
    }

    /// What is counted for the hello's first segment is why it goes; the others follow it.
    void decided_by_hello(uint32_t last_packet) {
        if (last_.reason != Reason::hello_rest) return;
        for (const Exit& exit : shadow_.exits())
            if (exit.packet <= last_packet && exit.reason == hello_->decision.reason) last_ = exit;
    }

    [[nodiscard]] Bytes first_data() const {
        if (!request_.hello().empty()) return {request_.hello().begin(), request_.hello().end()};
        Wishes wishes{.server_name = request_.server_name(),
                      .alpn = {request_.alpn().begin(), request_.alpn().end()},
                      .session = {request_.name().begin(), request_.name().end()},
                      .tls12 = request_.tls12(),
                      .early_data = request_.early_data()};
        return client_hello(wishes);
    }

    void add_packet(std::string_view what, const Exit& exit) {
        link::Explained::Packet& packet = *out_.add_packets();
        packet.set_what(std::string(what));
        packet.set_action(std::string(exit.stage == Stage::none ? "hold" : name_of(exit.action)));
        packet.set_reason(std::string(exit.stage == Stage::none ? "held" : name_of(exit.reason)));
        packet.set_blade(exit.blade);
    }
    static std::string towards(const Exit& exit) {
        return exit.blade != 0 ? fmt::format(": blade {}", exit.blade) : std::string();
    }

    // --- of the hello

    void tell_hello() {
        const HelloFacts& facts = hello_->facts;
        step("hello", "{}{}{}",
             facts.tls_version == TlsVersion::tls13 ? "it resumes by a PSK (TLS 1.3)" : "it has no PSK",
             facts.early_data ? ", with early data" : "",
             facts.bound != 0 ? fmt::format("; blade {} has the connection already", facts.bound)
                              : std::string());
        const Pool& pool = snapshot_.pools[facts.pool];
        step("route", "{}blades {}",
             facts.pool == service_->pool ? "the service's own pool: " : "a route's pool: ",
             pool.blades.empty() ? std::string("none") : fmt::format("{}", fmt::join(pool.blades, ", ")));
        for (uint8_t i = 0; i < facts.name_count; i++) tell_name(facts.names[i], facts.homes[i]);
        if (facts.name_count == 0) step("name", "it names no session that could be ours");
        if (hello_->holder.blade != 0) tell_holder();
        if (facts.opener != 0) step("ticket", "blade {} has the key of its ticket", facts.opener);
        tell_maglev(pool);
        if (hello_->decision.move || out_.move_from() != 0 ||
            hello_->decision.reason == Reason::steer_long_wait)
            tell_wait();
    }

    void tell_name(const SessionName& name, BladeId home) {
        const bool known = snapshot_.name_keys[name[0]] != nullptr;
        if (home != 0)
            step("name", "{}: made by blade {} with key generation {}",
                 to_hex(std::span<const uint8_t>(name)), home, name[0]);
        else if (known)
            step("name", "{}: not ours, though there is a key of generation {}",
                 to_hex(std::span<const uint8_t>(name)), name[0]);
        else
            step("name", "{}: not ours, there is no key of generation {}",
                 to_hex(std::span<const uint8_t>(name)), name[0]);
    }

    void tell_holder() {
        const Holder& holder = hello_->holder;
        step("moved", "{}",
             holder.moved ? fmt::format("its session has moved: blade {} has it", holder.blade)
                          : std::string("not in the moved table: its session is at home"));
        step("holder", "{}", state_of(holder.blade));
    }

    [[nodiscard]] std::string state_of(BladeId id) const {
        const BladeEntry& blade = snapshot_.blades[id];
        if (!blade.known) return fmt::format("blade {} is not configured any more", id);
        return fmt::format("blade {} {}{}, load {} %{}", id, text_of(blade.intake),
                           blade.flows_live ? "" : " and is gone", blade.load * 100 / UINT16_MAX,
                           snapshot_.pools[hello_->facts.pool].has(id) ? "" : ", and is not in the pool");
    }

    void tell_maglev(const Pool& pool) {
        if (pool.ring.empty()) return step("maglev", "no blade of the pool takes new clients");
        const uint64_t hash = steer::ring_hash(hello_->facts, hello_->holder);
        const BladeId first = pool.ring.at(hash), second = pool.ring.second(hash);
        step("maglev", "by the {}: {}; else {}", hello_->holder.blade != 0 ? "session's name" : "connection",
             state_of(first), state_of(second));
    }

    void tell_wait() {
        const Wait& wait = hello_->wait;
        const auto known = [](uint32_t us) {
            return us == 0 ? std::string("not known") : fmt::format("{} us", us);
        };
        step("move",
             "{}: it may wait {} us; waits of lately {}, round trip {}, a full handshake takes {} longer",
             out_.move_from() != 0 ? "worth it" : "not worth it", budget_us_ != 0 ? budget_us_ : wait.budget,
             known(wait.expected), known(wait.round_trip), known(wait.saving));
    }

    void tell_end() {
        if (hello_ && out_.move_from() != 0) {
            const BladeId to = hello_->decision.blade;
            out_.set_blade(to);
            out_.set_reason("steer_move");
            step("verdict", "held until the session has moved from blade {} to blade {}, then {}",
                 out_.move_from(), to, place_of(to));
            return;
        }
        out_.set_reason(std::string(last_.stage == Stage::none ? "held" : name_of(last_.reason)));
        if (last_.stage == Stage::none && !hello_) {
            step("verdict", "{}",
                 "held: the agents are asked which blade has the connection, or more of the ClientHello is "
                 "missing");
            return;
        }
        out_.set_blade(last_.blade);
        step("verdict", "{}{}", text_of(last_.reason),
             last_.blade != 0 ? fmt::format(": {}", place_of(last_.blade)) : std::string());
    }

    [[nodiscard]] std::string place_of(BladeId blade) const {
        const NextHop hop = shadow_.context().shared.blade_hop[blade].load();
        if (!hop.known()) return fmt::format("blade {}, whose MAC is not known", blade);
        const MacAddress mac = hop.mac();
        return fmt::format("blade {}, {:02x} by port {}", blade, fmt::join(mac, ":"),
                           shadow_.ports().list[hop.port()].name);
    }

    void tell_why_not(BladeId asked) {
        if (out_.blade() == asked) return out_.set_why_not(fmt::format("blade {} gets it", asked));
        if (!snapshot_.blades[asked].known)
            return out_.set_why_not(fmt::format("there is no blade {}", asked));
        if (!hello_ && out_.blade() != 0)
            return out_.set_why_not(
                fmt::format("nothing but addresses and ports counts here ({}), and they say blade {}",
                            out_.reason(), out_.blade()));
        if (!hello_) return out_.set_why_not(fmt::format("no blade gets it: {}", text_of(last_.reason)));
        out_.set_why_not(why_not(asked, *hello_, snapshot_));
    }

    Shadow& shadow_;
    const link::ExplainRequest& request_;
    const Headers& connection_;
    const Snapshot& snapshot_;
    const Observed& seen_;
    const Service* service_ = nullptr;
    std::unique_ptr<PendingHello> hello_;
    uint32_t budget_us_ = 0;
    Exit last_;
    link::Explained out_;
};

const Observed& whose(std::span<const Observed> seen, uint64_t hash) {
    const auto knows = std::ranges::find_if(seen, [](const Observed& one) { return one.flow.has_value(); });
    if (knows != seen.end()) return *knows;
    return seen[owner_of(hash, static_cast<uint16_t>(seen.size()))];
}

}  // namespace

Result<Headers> connection_of(const link::ExplainRequest& request) {
    Headers connection;
    Tuple& tuple = connection.tuple;
    if (request.client().size() != request.address().size() ||
        !read_address(request.client(), tuple.source) || !read_address(request.address(), tuple.destination))
        return fail("client and service need an address each, both of IPv4 or both of IPv6");
    if (request.client_port() == 0 || request.client_port() > UINT16_MAX || request.port() == 0 ||
        request.port() > UINT16_MAX)
        return fail("ports are 1 to 65535");
    if (request.hello().size() > kHelloMax)
        return fail("a ClientHello of {} bytes; {} are read at most", request.hello().size(), kHelloMax);
    if (request.name().size() > UINT16_MAX / 2 || request.server_name().size() > 255)
        return fail("a session name or a server name that is too long for a ClientHello");
    for (const std::string& protocol : request.alpn())
        if (protocol.empty() || protocol.size() > 255) return fail("a protocol (ALPN) has 1 to 255 bytes");
    connection.layout = Layout::tcp;
    connection.ipv6 = request.client().size() == 16;
    tuple.source_port = static_cast<uint16_t>(request.client_port());
    tuple.destination_port = static_cast<uint16_t>(request.port());
    return connection;
}

Result<link::Explained> explain(Shadow& shadow, const link::ExplainRequest& request,
                                const Headers& connection, const Snapshot& snapshot,
                                std::span<const Observed> seen) {
    const Observed& here = whose(seen, shadow.hash(connection));
    shadow.become(snapshot, here, connection);
    auto explained = Explanation(shadow, request, connection, snapshot, here).make();
    shadow.clear();
    return explained;
}

std::string why_not(BladeId blade, const PendingHello& hello, const Snapshot& snapshot) {
    const HelloFacts& facts = hello.facts;
    const BladeId taken = hello.decision.blade;
    const Pool& pool = snapshot.pools[facts.pool];
    const auto intake = [&](BladeId of) { return snapshot.blades[of].intake; };
    if (blade == taken) return "";
    if (facts.bound != 0)
        return fmt::format("blade {} has the connection already: the session follows it", facts.bound);
    if (!pool.has(blade))
        return fmt::format("blade {} is not in the pool that has what the client asks for", blade);
    if (intake(blade) == Intake::none) return fmt::format("blade {} takes no new clients", blade);
    const BladeId has_keys = hello.holder.blade != 0 ? hello.holder.blade : facts.opener;
    if (taken != 0 && taken == has_keys)
        return fmt::format("blade {} has {}, and {}", taken,
                           hello.holder.blade != 0 ? "its session" : "the key of its ticket",
                           text_of(intake(taken)));
    if (taken != 0 && intake(blade) < intake(taken))
        return fmt::format("blade {} {}, and blade {} {}", blade, text_of(intake(blade)), taken,
                           text_of(intake(taken)));
    if (pool.ring.empty()) return "no blade of the pool takes new clients";
    const uint64_t hash = steer::ring_hash(facts, hello.holder);
    const BladeId first = pool.ring.at(hash), second = pool.ring.second(hash);
    const char* by = hello.holder.blade != 0 ? "session's name" : "connection";
    if (blade == first)
        return fmt::format(
            "blade {} is Maglev's first candidate for this {}, but clearly more loaded than the second one, "
            "blade {}",
            blade, by, second);
    if (blade == second)
        return fmt::format(
            "blade {} is Maglev's second candidate for this {}: it would have to be clearly less loaded than "
            "the first one, blade {}",
            blade, by, first);
    return fmt::format("Maglev's candidates for this {} are blades {} and {}", by, first, second);
}

}  // namespace keyrail::explain
