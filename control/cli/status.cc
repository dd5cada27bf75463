// SPDX-License-Identifier: Apache-2.0
// keyrail status: the chassis on one screen.
#include <CLI/CLI.hpp>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string joined(const json& texts) {
    std::string line;
    for (const json& text : texts) line += (line.empty() ? "" : " ") + text.get<std::string>();
    return line;
}

std::string dataplane_line(const json& status) {
    const json& dataplane = status.at("dataplane");
    if (!dataplane.at("connected").get<bool>()) return "NOT CONNECTED (is keyrail-dp running?)";
    const uint64_t has = dataplane.at("snapshot_generation"), newest = status.at("snapshot_generation");
    const std::string lag = has == newest ? "" : fmt::format(" (newest is {})", newest);
    return fmt::format("keyrail-dp {}, {} worker(s), snapshot {}{}",
                       dataplane.at("version").get<std::string>(), dataplane.at("workers").get<int>(), has,
                       lag);
}

std::string binding_of(const json& service) {
    return service.at("binding").is_null() ? "-" : service.at("binding").at("now").get<std::string>();
}

std::string blades_up(const json& pool) {
    return fmt::format("{} of {}", pool.at("blades_up").get<int>(), pool.at("blades").size());
}

void show_routes(const json& services) {
    Table table({"SERVICE", "SNI", "ALPN", "POOL", "BLADES UP"});
    bool any = false;
    for (const json& service : services)
        for (const json& route : service.at("routes")) {
            const std::string alpn = route.at("alpn");
            table.add({service.at("name"), route.at("sni"), alpn.empty() ? "any" : alpn, route.at("pool"),
                       blades_up(route)});
            any = true;
        }
    if (!any) return;
    fmt::print("\n");
    table.print();
}

void show_status(const json& status) {
    const json& blades = status.at("blades");
    fmt::print("chassis    {} (keyraild {}, up {} s)\n", status.at("chassis").get<std::string>(),
               status.at("version").get<std::string>(), status.at("uptime_s").get<int64_t>());
    fmt::print("dataplane  {}\n", dataplane_line(status));
    fmt::print("blades     {} up, {} overloaded, {} draining, {} down; {} agent(s) connected\n",
               blades.at("up").get<int>(), blades.at("overloaded").get<int>(),
               blades.at("draining").get<int>(), blades.at("down").get<int>(),
               status.at("agents").get<int>());
    for (const json& left : status.at("left"))
        fmt::print(
            "left       blade {} ({}): {}\n", left.at("id").get<int>(), left.at("name").get<std::string>(),
            left.at("gone").get<bool>() ? "gone" : "configured no more; the flows that it has live on");
    fmt::print("sessions   {} away from their home\n", status.at("moved_sessions").get<uint64_t>());
    for (const auto& [kind, repository] : status.at("repositories").items())
        fmt::print(
            "repository {}: {}, {} change(s) lost\n", kind,
            repository.at("up").get<bool>() ? "up" : "DOWN: " + repository.at("problem").get<std::string>(),
            repository.at("lost").get<uint64_t>());
    fmt::print("\n");
    Table table({"SERVICE", "ADDRESSES", "PORT", "POOL", "STEERING", "BINDING", "BLADES UP"});
    for (const json& service : status.at("services"))
        table.add({service.at("name"), joined(service.at("addresses")), service.at("port").dump(),
                   service.at("pool"), service.at("steering"), binding_of(service), blades_up(service)});
    table.print();
    show_routes(status.at("services"));
    for (const json& service : status.at("services"))
        if (!service.at("binding").is_null())
            fmt::print("\n{}: {} binding ({})\n", service.at("name").get<std::string>(), binding_of(service),
                       service.at("binding").at("why").get<std::string>());
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
    showing(app, invocation, "status", "The chassis at a glance")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation, "/v1/status"), show_status); };
    });
}

}  // namespace keyrail::cli
