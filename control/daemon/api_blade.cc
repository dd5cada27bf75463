// SPDX-License-Identifier: Apache-2.0
// API: the blades.
#include "control/daemon/api.h"

#include <fmt/ranges.h>

#include <cmath>

namespace keyrail {

using nlohmann::json;

namespace {

json blade_report(const Blade& blade) {
    json servers = json::array();
    for (const uint16_t port : blade.ports)
        servers.push_back({{"port", port}, {"listening", blade.serves(port)}});
    return {{"id", blade.config.id},
            {"name", blade.config.name},
            {"address", blade.config.address.text()},
            {"state", text_of(blade.condition())},
            {"why_down", blade.why_down()},
            {"draining", blade.draining},
            {"agent",
             {{"connected", blade.connected},
              {"address", blade.config.agent.text()},
              {"version", blade.version},
              {"kernel", blade.kernel},
              {"accept_program", blade.accept_program},
              {"problems", blade.problems}}},
            {"servers", servers},
            {"load", std::round(blade.load * 1000.0 / kLoadMax) / 10},  // percent
            {"load_limit", blade.config.load_limit},
            {"sessions", blade.sessions},
            {"store_bytes", blade.store_bytes},
            {"resumed", blade.resumed},
            {"full", blade.full}};
}

asio::awaitable<ApiReply> blade_list(Daemon& daemon, ApiCall) { co_return json_reply(blades_json(daemon)); }

/// Who gets the clients now? A drain that leaves a service without a blade is carried out, but said.
json drain_notes(Daemon& daemon, uint16_t id) {
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

ApiReply change_blade(Daemon& daemon, std::string_view word, bool drain) {
    const auto id = blade_of(daemon, word);
    if (!id) return id.error();
    if (auto set = daemon.set_draining(*id, drain); !set) return error_reply(500, set.error().message);
    json report = blade_report(daemon.blades().all().at(*id));
    report["notes"] = drain ? drain_notes(daemon, *id) : json::array();
    return json_reply(report);
}

asio::awaitable<ApiReply> drain(Daemon& daemon, ApiCall call) {
    co_return change_blade(daemon, call.words[0], true);
}

asio::awaitable<ApiReply> resume(Daemon& daemon, ApiCall call) {
    co_return change_blade(daemon, call.words[0], false);
}

}  // namespace

uint16_t blade_number(std::string_view word) {
    const auto who = Identity::from_uri(fmt::format("keyrail:blade:{}", word));
    return who ? who->blade : 0;
}

tl::expected<uint16_t, ApiReply> blade_of(const Daemon& daemon, std::string_view word) {
    const auto& blades = daemon.blades().all();
    const uint16_t id = blade_number(word);
    if (blades.contains(id)) return id;
    std::vector<uint16_t> ids;
    for (const auto& [known, blade] : blades) ids.push_back(known);
    return tl::make_unexpected(
        error_reply(404, fmt::format("there is no blade '{}'; blades are: {}", word, fmt::join(ids, ", "))));
}

json blades_json(const Daemon& daemon) {
    json blades = json::array();
    for (const auto& [id, blade] : daemon.blades().all()) blades.push_back(blade_report(blade));
    return blades;
}

std::span<const ApiRoute> blade_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/blades", blade_list},
                                        ApiRoute{"POST", "/v1/blades/*/drain", drain},
                                        ApiRoute{"POST", "/v1/blades/*/resume", resume}};
    return kRoutes;
}

}  // namespace keyrail
