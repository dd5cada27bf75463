// SPDX-License-Identifier: Apache-2.0
#include "control/agent/agent.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/steady_timer.hpp>
#include <optional>

#include "chassis.pb.h"
#include "control/agent/accept_program.h"
#include "control/agent/assignment.h"
#include "control/agent/checkpointer.h"
#include "control/agent/control_session.h"
#include "control/agent/idle_closer.h"
#include "control/agent/kernel_checks.h"
#include "control/agent/load.h"
#include "control/agent/move_meter.h"
#include "control/agent/mover.h"
#include "control/agent/peer_server.h"
#include "control/agent/peers.h"
#include "control/agent/pull_server.h"
#include "control/agent/receiver.h"
#include "control/agent/renewal.h"
#include "control/agent/server_watch.h"
#include "control/agent/store_questions.h"
#include "control/protocol/wakefulness.h"
#include "control/repository/sealer.h"
#include "control/store/store.h"
#include "dataplane/common/name_bytes.h"

#ifndef KEYRAIL_VERSION
#define KEYRAIL_VERSION "unknown"
#endif

namespace keyrail {

using Clock = std::chrono::steady_clock;

namespace {

constexpr uint32_t kMostPullUs = 1'000'000;      // whatever keyraild says: a server's worker waits
constexpr std::chrono::milliseconds kTick{100};  // store sweep
constexpr int kTicksPerHealth = 10;
constexpr size_t kAnnounceBatch = 2000;  // about 100 KB
constexpr std::chrono::milliseconds kCheckpoint{100}, kCheckpointBusy{5};

}  // namespace

struct Agent::Impl : MoverLinks {
    Impl(asio::io_context& io_in, AgentConfig config_in, TlsContext tls_in, Store store_in)
        : io(io_in),
          config(std::move(config_in)),
          tls(std::move(tls_in)),
          store(std::move(store_in)),
          renewal(config.tls, tls),
          timer(io),
          mover_timer(io),
          checkpoint_timer(io),
          wakefulness(io, config.stay_awake),
          pool_keys(tls),
          mover(store, served, *this),
          receiver(store, served, config.id, names, [this](const SessionName& name, chassis::MoveDone done) {
              stored(name, std::move(done));
          }) {}

    asio::io_context& io;
    AgentConfig config;
    TlsContext tls;
    Store store;
    NameKeys names;
    ServedServices served;
    std::set<std::string> sealed;  // services with a repository
    LoadMeter load;
    Renewal renewal;
    MoveMeter move_meter;
    std::vector<std::string> problems;
    std::optional<AcceptProgram> accept;
    asio::steady_timer timer, mover_timer, checkpoint_timer;
    Wakefulness wakefulness;     // while sessions go or come
    bool mover_due = false;      // mover_timer runs
    uint64_t last_transfer = 0;  // 0: none yet
    PoolKeys pool_keys;
    Checkpointer checkpointer{store, served, sealed, pool_keys};
    std::weak_ptr<Channel> told;  // knows every session that is here
    std::shared_ptr<char> life = std::make_shared<char>();
    int ticks = 0;
    std::optional<Assignment> assigned;                   // kept for an accept program that is attached later
    bool renewing_tickets = false, closing_idle = false;  // the blade drains until a deadline (chassis.Drain)
    std::shared_ptr<ServerWatch> servers;
    Mover mover;
    Receiver receiver;
    std::unique_ptr<Peers> peers;
    std::unique_ptr<PeerServer> peer_server;
    std::unique_ptr<PullServer> pulls;
    std::unique_ptr<ControlSession> control;

    Result<void> start();
    void attach_accept_program();
    void program_kernel();
    asio::awaitable<void> on_connected(ChannelPtr channel);
    void on_message(chassis::Envelope& message);
    void assign(const chassis::Keys& keys);
    void tell_servers();
    void drain(const chassis::Drain& drain);
    void close_idle_connections();
    chassis::Envelope on_peer_message(uint16_t blade, const chassis::Envelope& message);
    PeerEvents peer_events();
    bool ask(uint64_t request, const PullRequest& asked);
    void stored(const SessionName& name, chassis::MoveDone moved);
    void look_after_moves();
    void await_moves();
    void send_health();
    void renew_certificate();
    void forget_sessions_of(const std::set<uint16_t>& revoked);
    void tick();
    void checkpoint();
    void restore(const chassis::Restore& restore);
    void wrap(const chassis::WrapPoolKey& question);

    // --- of the mover ---
    [[nodiscard]] bool connected(uint16_t blade) const override { return peers->connected(blade); }
    Result<void> send(uint16_t blade, chassis::Envelope message) override {
        return peers->send(blade, std::move(message));
    }
    void report(chassis::MoveDone done) override;
    uint64_t transfer_number() override;
};

/// Attaches the program once the blade's settings allow it; until then says why not, and services with
/// `binding = "auto"` do without.
void Agent::Impl::attach_accept_program() {
    problems.clear();
    if (const auto kernel = check_kernel(); !kernel) {
        problems.push_back(kernel.error().message);
        config.accept_program = false;  // a kernel that runs learns nothing new, and asking it costs much
    } else {
        problems = sysctl_problems();
    }
    if (problems.empty()) {
        auto attached = AcceptProgram::attach(config.interface, config.bpffs);
        if (attached) {
            accept.emplace(std::move(*attached));
            spdlog::info("accept program attached to {}", config.interface);
            program_kernel();
        } else {
            problems.push_back(attached.error().message);
        }
    }
    for (const std::string& problem : problems) spdlog::warn("no late binding on this blade: {}", problem);
}

void Agent::Impl::program_kernel() {
    if (!accept || !assigned) return;
    auto set = accept->set_keys(assigned->cookie_keys);
    if (set) set = accept->set_services(assigned->held);
    if (!set) spdlog::error("accept program: {}", set.error().message);
}

Result<void> Agent::Impl::start() {
    if (config.accept_program) attach_accept_program();
    const auto executor = io.get_executor();
    auto watch = ServerWatch::open(executor, [this] { send_health(); });
    if (!watch) return tl::make_unexpected(watch.error());
    servers = *watch;
    peers = std::make_unique<Peers>(executor, tls, peer_events());
    auto opened = PeerServer::open(
        executor, tls, config.listen, config.id,
        [this](uint16_t blade, const chassis::Envelope& message) { return on_peer_message(blade, message); });
    if (!opened) return tl::make_unexpected(opened.error());
    peer_server = std::move(*opened);
    auto pulling =
        PullServer::open(executor, store, config.store,
                         [this](uint64_t request, const PullRequest& asked) { return ask(request, asked); });
    if (!pulling) return tl::make_unexpected(pulling.error());
    pulls = std::move(*pulling);
    control = std::make_unique<ControlSession>(
        executor, tls, config.control,
        ControlEvents{[this](ChannelPtr channel) { return on_connected(std::move(channel)); },
                      [this](chassis::Envelope& message) { on_message(message); }});
    tick();
    checkpoint();
    return {};
}

PeerEvents Agent::Impl::peer_events() {
    PeerEvents events;
    events.message = [this](uint16_t blade, const chassis::Envelope& message) {
        if (message.has_transfer_ack())
            mover.acknowledged(blade, message.request(), message.transfer_ack(), Clock::now());
    };
    events.connected = [this](uint16_t) { look_after_moves(); };
    events.lost = [this](uint16_t blade) { mover.lost(blade); };
    return events;
}

chassis::Envelope Agent::Impl::on_peer_message(uint16_t blade, const chassis::Envelope& message) {
    chassis::Envelope answer;
    if (!message.has_transfer()) return answer;
    *answer.mutable_transfer_ack() = receiver.receive(blade, message.request(), message.transfer());
    wakefulness.needed();
    return answer;
}

void Agent::Impl::look_after_moves() {
    mover.look(Clock::now());
    await_moves();
}

/// Looks again soon while orders wait for their session or for a connection.
void Agent::Impl::await_moves() {
    if (!mover.waiting() || std::exchange(mover_due, true)) return;
    mover_timer.expires_after(Mover::kStep);
    mover_timer.async_wait([this, weak = std::weak_ptr(life)](const asio::error_code& error) {
        if (error || weak.expired()) return;
        mover_due = false;
        look_after_moves();
    });
}

/// A server misses a session: keyraild knows where it is, and has it moved here.
bool Agent::Impl::ask(uint64_t request, const PullRequest& asked) {
    if (!assigned || !control->connected()) return false;
    chassis::Envelope message;
    message.set_request(request);
    chassis::Pull& body = *message.mutable_pull();
    body.set_name(bytes_of(asked.name));
    body.set_tls_version(asked.tls_version);
    body.set_budget_us(assigned->control.pull_budget_us);
    if (asked.service_slot < assigned->control.services.size())
        body.set_service(served.name(assigned->control.services[asked.service_slot].service));
    control->send(std::move(message));
    wakefulness.needed();
    return true;
}

/// First who waits for it here: keyraild's answer would take a while longer.
void Agent::Impl::stored(const SessionName& name, chassis::MoveDone moved) {
    pulls->stored(name);
    report(std::move(moved));
}

/// Counts from a random start: the numbers of an agent that ran before are others.
uint64_t Agent::Impl::transfer_number() {
    if (last_transfer == 0)
        RAND_bytes(reinterpret_cast<unsigned char*>(&last_transfer), sizeof last_transfer);
    return ++last_transfer;
}

/// Who we are, then which sessions are here though their home is elsewhere, then how we are.
asio::awaitable<void> Agent::Impl::on_connected(ChannelPtr channel) {
    mover.forget();
    chassis::Envelope hello;
    auto& body = *hello.mutable_agent_hello();
    body.set_version(KEYRAIL_VERSION);
    body.set_kernel(kernel_release());
    body.set_accept_program(accept.has_value());
    body.set_agent_address(config.listen.text());
    for (const std::string& problem : problems) body.add_problems(problem);
    (void)channel->send(std::move(hello));  // a channel that is broken shows in receive()

    Store::Cursor cursor;
    for (bool first = true; first || !cursor.done(); first = false) {
        chassis::Envelope announce;
        announce.mutable_announce()->set_reset(first);
        for (const SessionInfo& info : store.list(cursor, Store::Which::kMovedIn, kAnnounceBatch)) {
            auto& held = *announce.mutable_announce()->add_held();
            held.set_name(info.name.data(), info.name.size());
            held.set_expires_ms(info.expires_ms);
        }
        (void)channel->send(std::move(announce));
        co_await channel->room();
        if (!channel->is_open()) co_return;  // perhaps because the agent ended
    }
    checkpointer.start_over();
    told = channel;
    if (assigned) send_health();
    renewal.retry();
    renew_certificate();
}

void Agent::Impl::on_message(chassis::Envelope& message) {
    switch (message.body_case()) {
        case chassis::Envelope::kKeys:
            return assign(message.keys());
        case chassis::Envelope::kDrain:
            return drain(message.drain());
        case chassis::Envelope::kOrder:
            mover.order(message.order(), Clock::now());
            await_moves();
            wakefulness.needed();
            return;
        case chassis::Envelope::kQuery:
        case chassis::Envelope::kList:
        case chassis::Envelope::kPurge:
            return control->send(answer_question(store, served, message));
        case chassis::Envelope::kStale:
            if (const size_t copies = checkpointer.destroy(message.stale()); copies != 0)
                spdlog::warn("checkpoints: {} sessions here were copies that are behind; destroyed", copies);
            return;
        case chassis::Envelope::kRestore:
            return restore(message.restore());
        case chassis::Envelope::kPoolKeys:
            if (pool_keys.replace(message.pool_keys())) checkpointer.start_over();  // sealed anew
            return;
        case chassis::Envelope::kWrapPoolKey:
            return wrap(message.wrap_pool_key());
        case chassis::Envelope::kCertificateReply:
            return renewal.received(message.certificate_reply());
        case chassis::Envelope::kPullReply:
            return pulls->answered(message.request(), message.pull_reply().result() == chassis::MOVED);
        default:
            return;  // of a newer keyraild
    }
}

void Agent::Impl::assign(const chassis::Keys& keys) {
    auto read = Assignment::from(keys, config.id);
    if (!read) return spdlog::error("control: what it assigns cannot be used: {}", read.error().message);
    std::set<uint16_t> revoked = read->revoked;  // since the last time
    if (assigned) std::erase_if(revoked, [&](uint16_t blade) { return assigned->revoked.contains(blade); });
    assigned.emplace(std::move(*read));
    names.clear();
    for (const auto& [generation, key] : assigned->name_keys) names.set(generation, key);
    served = assigned->served;
    sealed = assigned->sealed;
    assigned->control.pull_budget_us = std::min(keys.pull_budget_us(), kMostPullUs);
    tell_servers();
    program_kernel();
    std::set<uint16_t> blades;
    for (const auto& [blade, peer] : assigned->peers) blades.insert(blade);
    receiver.configure(std::move(blades));
    peer_server->configure(assigned->peers);
    peers->configure(assigned->peers);
    servers->watch(assigned->services);
    forget_sessions_of(revoked);
    send_health();
}

/// What a revoked blade once had, it may have kept a copy of.
void Agent::Impl::forget_sessions_of(const std::set<uint16_t>& revoked) {
    if (revoked.empty()) return;
    size_t forgotten = 0;
    Store::Cursor cursor;
    while (!cursor.done())
        for (const SessionInfo& info : store.list(cursor, Store::Which::kMovedIn, kAnnounceBatch))
            if (const auto home = names.home(info.name); home && revoked.contains(*home))
                forgotten += store.erase(info.name) ? 1 : 0;
    if (forgotten != 0) spdlog::warn("store: {} sessions of revoked blades are destroyed", forgotten);
}

void Agent::Impl::renew_certificate() {
    if (auto request = renewal.due(std::chrono::system_clock::now())) control->send(std::move(*request));
}

void Agent::Impl::tell_servers() {
    assigned->control.renew_tickets = renewing_tickets;
    store.set_control(assigned->control);
}

void Agent::Impl::drain(const chassis::Drain& drain) {
    if (closing_idle != drain.close_idle())
        spdlog::info("drain: connections that are idle {}", drain.close_idle() ? "are closed" : "stay");
    closing_idle = drain.close_idle();
    renewing_tickets = drain.renew_tickets();
    if (assigned) tell_servers();
}

void Agent::Impl::close_idle_connections() {
    auto sockets = SockDiag::open();
    if (!sockets) return spdlog::warn("drain: {}", sockets.error().message);
    if (const size_t closed = close_idle(*sockets, assigned->services); closed != 0)
        spdlog::info("drain: {} idle connections closed", closed);
}

void Agent::Impl::report(chassis::MoveDone done) {
    chassis::Envelope message;
    *message.mutable_move_done() = std::move(done);
    control->send(std::move(message));
}

void Agent::Impl::send_health() {
    chassis::Envelope message;
    auto& health = *message.mutable_health();
    for (const auto& [port, listening] : servers->ports()) {
        auto& server = *health.add_servers();
        server.set_port(port);
        server.set_listening(listening);
    }
    const StoreStats stats = store.stats();
    health.set_load(load.current());
    health.set_sessions(stats.sessions);
    health.set_store_bytes(stats.bytes);
    health.set_resumed(stats.resumed);
    health.set_full(stats.full);
    for (const HandshakeCost& cost : store.costs()) {
        auto& out = *health.add_costs();
        out.set_service(served.name(cost.service));
        out.set_tls_version(cost.tls13 ? 0x0304 : 0x0303);
        out.set_resumed(cost.resumed);
        out.set_count(cost.count);
        out.set_cpu_ns(cost.cpu_ns);
        out.set_wall_ns(cost.wall_ns);
    }
    health.set_keys_version(assigned ? assigned->version : 0);
    health.mutable_moves()->set_count(mover.cost().moves);
    health.mutable_moves()->set_cpu_ns(move_meter.cpu_ns());
    health.mutable_moves()->set_wall_ns(static_cast<uint64_t>(mover.cost().wall.count()));
    if (control) control->send(std::move(message));
}

/// Tells keyraild what became of sessions, a message at a time: moves must not wait behind many of them.
void Agent::Impl::checkpoint() {
    checkpointer.look();
    const ChannelPtr channel = told.lock();
    chassis::Envelope message;
    const bool more = channel && assigned && channel->queued_bytes() < Checkpointer::kMostBytes &&
                      checkpointer.next(*message.mutable_checkpoint());
    if (more) (void)channel->send(std::move(message));  // a channel that is broken starts over
    checkpoint_timer.expires_after(more ? kCheckpointBusy : kCheckpoint);
    checkpoint_timer.async_wait([this, weak = std::weak_ptr(life)](const asio::error_code& error) {
        if (!error && !weak.expired()) checkpoint();
    });
}

void Agent::Impl::restore(const chassis::Restore& restore) {
    chassis::MoveDone done;
    done.set_order_id(restore.order_id());
    SessionRecord record;
    auto opened = checkpointer.open(restore.session(), wall_clock_ms(), record);
    if (opened) {
        record.moved_in = names.home(record.name) != config.id;
        if (store.put(record) != Store::Put::kStored) opened = fail("the store cannot take it");
    }
    done.set_result(opened ? chassis::MOVED : chassis::REFUSED);
    done.set_expires_ms(record.expires_ms);
    if (!opened) {
        done.set_reason(opened.error().message);
        spdlog::warn("a session from the repository is refused: {}", opened.error().message);
    }
    report(std::move(done));
    wakefulness.needed();
}

void Agent::Impl::wrap(const chassis::WrapPoolKey& question) {
    auto answer = pool_keys.wrap(question);
    if (!answer) return spdlog::warn("pool keys: {}", answer.error().message);
    chassis::Envelope message;
    *message.mutable_pool_keys() = std::move(*answer);
    control->send(std::move(message));
}

void Agent::Impl::tick() {
    store.sweep(wall_clock_ms());
    look_after_moves();
    if (++ticks % kTicksPerHealth == 0) {
        load.measure();
        move_meter.measure(mover.cost().moves);
        if (assigned) send_health();
        renew_certificate();
        if (assigned && closing_idle) close_idle_connections();
        if (config.accept_program && !accept && ticks % (10 * kTicksPerHealth) == 0) {
            attach_accept_program();
            if (accept) control->reconnect();  // keyraild hears of it by a new AgentHello
        }
    }
    timer.expires_after(kTick);
    // A wait that is over already cannot be cancelled any more: its handler may outlive us.
    timer.async_wait([this, weak = std::weak_ptr(life)](const asio::error_code& error) {
        if (!error && !weak.expired()) tick();
    });
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::start(asio::io_context& io, AgentConfig config) {
    if (auto proven = prove_sealing(); !proven) return tl::make_unexpected(proven.error());
    auto tls = TlsContext::load(config.tls);
    if (!tls) return tl::make_unexpected(tls.error());
    if (tls->self() != Identity::of_blade(config.id))
        return fail("{}: is the certificate of {}, but [blade] id is {}", config.tls.certificate.string(),
                    tls->self().text(), config.id);
    std::string warning;
    auto store = Store::create(config.store, config.store_bytes, config.server_group, &warning);
    if (!store) return tl::make_unexpected(store.error());
    if (!warning.empty()) spdlog::warn("{}", warning);
    auto impl = std::make_unique<Impl>(io, std::move(config), std::move(*tls), std::move(*store));
    if (auto started = impl->start(); !started) return tl::make_unexpected(started.error());
    return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

}  // namespace keyrail
