// SPDX-License-Identifier: Apache-2.0
// API: services, and the pools of blades that they lead to.
#include "control/daemon/api/api.h"

#include "control/daemon/api/stats_report.h"

namespace keyrail {

using nlohmann::json;

namespace {

json state_of(const Blades& blades, BladeId id) {
    const auto known = blades.all().find(id);
    if (known == blades.all().end()) return {{"id", id}, {"name", ""}, {"state", "down"}};
    return {{"id", id}, {"name", known->second.config.name}, {"state", text_of(known->second.intake())}};
}

json states_of(const Blades& blades, const std::vector<BladeId>& ids) {
    json states = json::array();
    for (const BladeId id : ids) states.push_back(state_of(blades, id));
    return states;
}

asio::awaitable<ApiReply> service_list(Daemon& daemon, ApiCall) {
    json list = json::array();
    for (const ServiceConfig& service : daemon.config().services)
        list.push_back(service_report(service, daemon));
    co_return json_reply(list);
}

/// What is counted for it, by TLS version.
json of_service(const json& list, const std::string& name) {
    json mine = json::array();
    for (const json& one : list)
        if (one.at("service") == name) mine.push_back(one);
    return mine;
}

asio::awaitable<ApiReply> service_show(Daemon& daemon, ApiCall call) {
    const std::string name = call.words[0];
    const json stats = co_await stats_json(daemon);
    for (const ServiceConfig& service : daemon.config().services) {
        if (service.name != name) continue;
        json report = service_report(service, daemon);
        report["members"] = states_of(daemon.blades(), service.members());
        report["handshakes"] = of_service(stats.at("economics").at("handshakes"), name);
        report["holds"] = of_service(stats.value("holds", json::array()), name);
        report["session_lifetime_s"] = service.session_lifetime.count();
        report["hello_limit"] = service.hello_limit;
        report["hold_budget_us"] = service.hold_budget ? json(service.hold_budget->count()) : json();
        report["early_data"] = service.early_data;
        co_return json_reply(report);
    }
    co_return error_reply(404, fmt::format("there is no service '{}'; see 'keyrail service list'", name));
}

json pool_report(const Daemon& daemon, const std::string& name, const std::vector<BladeId>& ids) {
    json users = json::array();
    for (const ServiceConfig& service : daemon.config().services) {
        if (service.pool == name)
            users.push_back({{"service", service.name}, {"sni", nullptr}, {"alpn", nullptr}});
        for (const RouteConfig& route : service.routes)
            if (route.pool == name)
                users.push_back({{"service", service.name},
                                 {"sni", route.sni},
                                 {"alpn", route.alpn.empty() ? json() : json(route.alpn)}});
    }
    return {{"name", name}, {"blades", states_of(daemon.blades(), ids)}, {"services", users}};
}

asio::awaitable<ApiReply> pool_list(Daemon& daemon, ApiCall) {
    json list = json::array();
    for (const auto& [name, ids] : daemon.config().pools) list.push_back(pool_report(daemon, name, ids));
    co_return json_reply(list);
}

asio::awaitable<ApiReply> pool_show(Daemon& daemon, ApiCall call) {
    const auto& pools = daemon.config().pools;
    const auto found = pools.find(call.words[0]);
    if (found == pools.end())
        co_return error_reply(404,
                              fmt::format("there is no pool '{}'; see 'keyrail pool list'", call.words[0]));
    co_return json_reply(pool_report(daemon, found->first, found->second));
}

}  // namespace

std::span<const ApiRoute> service_routes() {
    static constexpr std::array kRoutes{
        ApiRoute{"GET", "/v1/services", service_list}, ApiRoute{"GET", "/v1/services/*", service_show},
        ApiRoute{"GET", "/v1/pools", pool_list}, ApiRoute{"GET", "/v1/pools/*", pool_show}};
    return kRoutes;
}

}  // namespace keyrail
