// SPDX-License-Identifier: Apache-2.0
// API: the blades.
#include "control/daemon/api/api.h"

#include <fmt/ranges.h>

#include <cmath>

#include "control/daemon/api/stats_report.h"

namespace keyrail {

using nlohmann::json;

namespace {

constexpr uint64_t kLongestDeadlineS = 7 * 86'400;

/// null: it is not being drained.
json drain_report(const Blade& blade, const DrainProgress* progress) {
    if (!progress) return nullptr;
    const auto until = progress->empty ? progress->ended : std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(until - progress->began).count();
    const uint64_t left = progress->empty ? 0 : blade.sessions;  // as its agent said last, up to a second ago
    const double pace = seconds > 1 && progress->moved > 0 ? static_cast<double>(progress->moved) / seconds
                                                           : static_cast<double>(progress->rate);
    json report = {{"rate", progress->rate},     {"moved", progress->moved}, {"left", left},
                   {"failed", progress->failed}, {"empty", progress->empty}, {"seconds", seconds},
                   {"deadline_ms", nullptr},     {"estimate_s", nullptr},    {"stuck", nullptr}};
    if (blade.drain.deadline_ms != 0) report["deadline_ms"] = blade.drain.deadline_ms;
    const std::string stuck = progress->stuck(std::chrono::steady_clock::now());
    if (!stuck.empty())
        report["stuck"] = stuck;
    else if (!progress->empty)
        report["estimate_s"] = std::ceil(static_cast<double>(left) / pace);
    return report;
}

json server_report(const Blade& blade, uint16_t port) {
    json addresses = json::array();
    for (const auto& [at, server] : blade.addresses)
        if (at.port == port)
            addresses.push_back({{"address", at.address.text()},
                                 {"listening", server.listening},
                                 {"address_here", server.address_here},
                                 {"mptcp", server.mptcp},
                                 {"hangs", server.hangs},
                                 {"without_hooks", server.without_hooks}});
    return {{"port", port}, {"listening", blade.serves(port)}, {"addresses", addresses}};
}

json blade_report(const Daemon& daemon, const Blade& blade) {
    json servers = json::array();
    for (const uint16_t port : blade.ports) servers.push_back(server_report(blade, port));
    json report = {
        {"id", blade.config.id},
        {"name", blade.config.name},
        {"address", blade.config.address.text()},
        {"state", text_of(blade.intake())},
        {"why_down", blade.why_none()},
        {"takes_new", blade.intake() == BladeIntake::open || blade.intake() == BladeIntake::overloaded},
        {"flows_live", !blade.gone},
        {"gone", blade.gone},
        {"draining", blade.draining},
        {"drain", drain_report(blade, daemon.draining().progress(blade.config.id))},
        {"agent",
         {{"connected", blade.connected},
          {"address", blade.config.agent.text()},
          {"version", blade.version},
          {"kernel", blade.kernel},
          {"accept_program", blade.accept_program},
          {"accepted", blade.accepted},
          {"problems", blade.problems}}},
        {"servers", servers},
        {"faults", blade.faults()},
        {"load", std::round(blade.load * 1000.0 / kLoadMax) / 10},  // percent
        {"load_limit", blade.config.load_limit}};
    add_blade_values(report, blade);
    return report;
}

asio::awaitable<ApiReply> blade_list(Daemon& daemon, ApiCall) { co_return json_reply(blades_json(daemon)); }

/// Who gets the clients now? A drain that leaves a service without a blade is carried out, with a note.
json drain_notes(Daemon& daemon, BladeId id) {
    json notes = json::array();
    for (const ServiceConfig& service : daemon.config().services) {
        const auto note = [&](const auto& owner, const std::string& what) {
            if (std::ranges::binary_search(owner.blades, id) &&
                daemon.blades().serving(owner.blades, service.port) == 0)
                notes.push_back(fmt::format("{} has no other blade that is up", what));
        };
        note(service, fmt::format("service '{}'", service.name));
        for (const RouteConfig& route : service.routes)
            note(route, fmt::format("route '{}' of service '{}'", route.sni, service.name));
    }
    return notes;
}

/// A whole number of the request's body; an error says what is possible.
Result<uint64_t> number_in(const json& body, const char* key, uint64_t otherwise, uint64_t most) {
    if (!body.contains(key)) return otherwise;
    if (body[key].is_number_unsigned() && body[key] >= 1 && body[key] <= most)
        return body[key].get<uint64_t>();
    return fail("{} is {}; 1 to {} are possible", key, body[key].dump(), most);
}

/// As the operator wishes. If the blade drains already, options that are left out stay as they were.
Result<DrainOptions> drain_options(const Blade& blade, const json& body) {
    DrainOptions options = blade.draining ? blade.drain : DrainOptions{};
    const auto rate = number_in(body, "rate", options.rate, Drains::kHighestRate);
    if (!rate) return tl::make_unexpected(rate.error());
    options.rate = static_cast<uint32_t>(*rate);
    const auto deadline = number_in(body, "deadline_s", 0, kLongestDeadlineS);
    if (!deadline) return tl::make_unexpected(deadline.error());
    if (*deadline != 0) options.deadline_ms = unix_ms() + *deadline * 1000;
    return options;
}

ApiReply change_blade(Daemon& daemon, BladeId id, const std::optional<DrainOptions>& drain,
                      const Actor& actor) {
    const Blade& blade = daemon.blades().all().at(id);
    // What is so already is no change: no snapshot, no event.
    const bool same = drain ? blade.draining && blade.drain == *drain : !blade.draining;
    if (!same) {
        if (auto set = daemon.set_draining(id, drain); !set) return error_reply(500, set.error().message);
        daemon.events().add(drain ? "blade.drain.started" : "blade.resumed", actor.name,
                            drain
                                ? fmt::format("blade {} ({}) drains, {} sessions a second", id,
                                              blade.config.name, drain->rate)
                                : fmt::format("blade {} ({}) takes new clients again", id, blade.config.name),
                            {id});
    }
    json report = blade_report(daemon, blade);
    report["notes"] = drain ? drain_notes(daemon, id) : json::array();
    return json_reply(report);
}

asio::awaitable<ApiReply> drain(Daemon& daemon, ApiCall call) {
    const auto id = blade_of(daemon, call.words[0]);
    if (!id) co_return id.error();
    const auto options = drain_options(daemon.blades().all().at(*id), call.body);
    if (!options) co_return error_reply(400, options.error().message);
    co_return change_blade(daemon, *id, *options, call.actor);
}

asio::awaitable<ApiReply> resume(Daemon& daemon, ApiCall call) {
    const auto id = blade_of(daemon, call.words[0]);
    co_return id ? change_blade(daemon, *id, std::nullopt, call.actor) : id.error();
}

/// Also one that is no longer configured, but has flows.
asio::awaitable<ApiReply> off(Daemon& daemon, ApiCall call) {
    const BladeId number = blade_number(call.words[0]);
    const bool left = daemon.blades().left().contains(number);
    const auto id = left ? tl::expected<BladeId, ApiReply>(number) : blade_of(daemon, call.words[0]);
    if (!id) co_return id.error();
    const Result<void> done = co_await daemon.agents().off(*id);
    if (!done) co_return error_reply(409, done.error().message);
    daemon.events().add("blade.off", call.actor.name,
                        fmt::format("blade {} has no power: what it had is bound anew", *id), {*id});
    co_return json_reply({{"blade", *id}});
}

}  // namespace

BladeId blade_number(std::string_view word) {
    const auto who = Identity::from_uri(fmt::format("keyrail:blade:{}", word));
    return who ? who->blade : BladeId{};
}

tl::expected<BladeId, ApiReply> blade_of(const Daemon& daemon, std::string_view word) {
    const auto& blades = daemon.blades().all();
    const BladeId id = blade_number(word);
    if (blades.contains(id)) return id;
    std::vector<std::string> known;
    for (const auto& [number, blade] : blades) {
        if (blade.config.name == word) return number;
        known.push_back(fmt::format("{} ({})", number, blade.config.name));
    }
    return tl::make_unexpected(error_reply(
        404, fmt::format("there is no blade '{}'; blades are: {}", word, fmt::join(known, ", "))));
}

json blades_json(const Daemon& daemon) {
    json blades = json::array();
    for (const auto& [id, blade] : daemon.blades().all()) blades.push_back(blade_report(daemon, blade));
    return blades;
}

std::span<const ApiRoute> blade_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/blades", blade_list},
                                        ApiRoute{"POST", "/v1/blades/*/drain", drain, "rate deadline_s"},
                                        ApiRoute{"POST", "/v1/blades/*/resume", resume},
                                        ApiRoute{"POST", "/v1/blades/*/off", off}};
    return kRoutes;
}

}  // namespace keyrail
