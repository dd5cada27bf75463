// SPDX-License-Identifier: Apache-2.0
// API: the chassis as a whole: status, counters, configuration.
#include "control/daemon/api/api.h"

#include "control/daemon/api/stats_report.h"
#include "control/daemon/blades/binding.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kStatsTimeout = 1s;
constexpr int kConservationReads = 5;

json dataplane_report(Daemon& daemon) {
    const DataplaneLink::Peer& peer = daemon.dataplane().peer();
    if (!peer.connected) return {{"connected", false}};
    return {{"connected", true},
            {"version", peer.version},
            {"workers", peer.workers},
            {"snapshot_generation", peer.generation}};
}

/// null: each packet by its tuple, there is nothing to bind.
json binding_report(const ServiceConfig& service, const Blades& blades) {
    if (!service.by_session) return nullptr;
    const BindingChoice choice = choose_binding(service, blades);
    return {{"now", choice.late ? "late" : "early"}, {"why", choice.why}};
}

json service_report(const ServiceConfig& service, const Blades& blades) {
    json addresses = json::array();
    for (const IpAddress& address : service.addresses) addresses.push_back(address.text());
    json routes = json::array();
    for (const RouteConfig& route : service.routes)
        routes.push_back({{"sni", route.sni},
                          {"alpn", route.alpn},
                          {"pool", route.pool},
                          {"blades", route.blades},
                          {"blades_up", blades.serving(route.blades, service.port)}});
    return {{"name", service.name},
            {"addresses", addresses},
            {"port", service.port},
            {"pool", service.pool},
            {"steering", service.by_session ? "session" : "tuple"},
            {"binding", binding_report(service, blades)},
            {"blades", service.blades},
            {"blades_up", blades.serving(service.blades, service.port)},
            {"routes", routes},
            {"content_moves", service.content_moves}};
}

asio::awaitable<ApiReply> status(Daemon& daemon, ApiCall) { co_return json_reply(status_json(daemon)); }

asio::awaitable<ApiReply> stats(Daemon& daemon, ApiCall) {
    const json report = co_await stats_json(daemon);
    co_return json_reply(report);
}

/// Blades that are no longer configured, but still have flows.
json left_report(const Blades& blades) {
    json left = json::array();
    for (const auto& [id, blade] : blades.left())
        left.push_back({{"id", id},
                        {"name", blade.name},
                        {"address", blade.address.text()},
                        {"flows_live", !blade.gone},
                        {"gone", blade.gone},
                        {"until_ms", blade.until_ms}});
    return left;
}

}  // namespace

json status_json(Daemon& daemon) {
    std::map<std::string, int> conditions = {{"up", 0}, {"overloaded", 0}, {"draining", 0}, {"down", 0}};
    for (const auto& [id, blade] : daemon.blades().all()) conditions[text_of(blade.intake())]++;
    json services = json::array();
    for (const ServiceConfig& service : daemon.config().services)
        services.push_back(service_report(service, daemon.blades()));
    json blades = conditions;
    blades["total"] = daemon.blades().all().size();
    return {{"chassis", daemon.config().name},
            {"version", KEYRAIL_VERSION},
            {"uptime_s", daemon.uptime().count()},
            {"config", daemon.config().file.string()},
            {"settled", daemon.settled()},
            {"snapshot_generation", daemon.generation()},
            {"dataplane", dataplane_report(daemon)},
            {"blades", blades},
            {"left", left_report(daemon.blades())},
            {"agents", daemon.agents().count()},
            {"services", services},
            {"repositories", repositories_report(daemon.repositories().all())},
            {"moved_sessions", daemon.moves().directory().size()}};
}

/// A worker counts while it is being read, so one reading may catch a packet between two counters: read again
/// then.
asio::awaitable<json> stats_json(Daemon& daemon) {
    json report = json::object();
    for (int i = 0; i < kConservationReads && !report.value("conserved", false); i++) {
        const auto counters = co_await daemon.dataplane().stats(kStatsTimeout);
        if (!counters) break;
        report = stats_report(*counters, daemon.config());
    }
    if (!report.value("conserved", true))
        daemon.events().add("dataplane.not_conserved", Events::kNobody,
                            "packets went where no counter says: a fault of keyrail-dp, please report it");
    add_agents_counters(report, daemon.blades().all());
    report["dataplane"] = dataplane_report(daemon);
    report["generation"] = daemon.generation();
    report["moves"] = moves_report(daemon.moves(), report);
    report["checkpoints"] = checkpoints_report(daemon.checkpoints().counters());
    report["checkpoints"]["repositories"] = repositories_report(daemon.repositories().all());
    report["counters"] = counter_texts();
    report["economics"] = economics_report(daemon.economics(), daemon.config(), report);
    json agents = json::array();
    for (const auto& [id, blade] : daemon.blades().all())
        agents.push_back({{"blade", id}, {"connected", blade.connected}});
    report["agents"] = std::move(agents);
    co_return report;
}

std::span<const ApiRoute> chassis_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/status", status},
                                        ApiRoute{"GET", "/v1/stats", stats}};
    return kRoutes;
}

}  // namespace keyrail
