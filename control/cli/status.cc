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
    const json& dataplane = status["dataplane"];
    if (!dataplane["connected"].get<bool>()) return "NOT CONNECTED (is keyrail-dp running?)";
    const uint64_t has = dataplane["snapshot_generation"], newest = status["snapshot_generation"];
    const std::string lag = has == newest ? "" : fmt::format(" (newest is {})", newest);
    return fmt::format("keyrail-dp {}, {} worker(s), snapshot {}{}", dataplane["version"].get<std::string>(),
                       dataplane["workers"].get<int>(), has, lag);
}

std::string binding_of(const json& service) {
    return service["binding"].is_null() ? "-" : service["binding"]["now"].get<std::string>();
}

std::string blades_up(const json& pool) {
    return fmt::format("{} of {}", pool["blades_up"].get<int>(), pool["blades"].size());
}

void show_routes(const json& services) {
    Table table({"SERVICE", "SNI", "ALPN", "POOL", "BLADES UP"});
    bool any = false;
    for (const json& service : services)
        for (const json& route : service["routes"]) {
            const std::string alpn = route["alpn"];
            table.add({service["name"], route["sni"], alpn.empty() ? "any" : alpn, route["pool"],
                       blades_up(route)});
            any = true;
        }
    if (!any) return;
    fmt::print("\n");
    table.print();
}

void show_status(const json& status) {
    const json& blades = status["blades"];
    fmt::print("chassis    {} (keyraild {}, up {} s)\n", status["chassis"].get<std::string>(),
               status["version"].get<std::string>(), status["uptime_s"].get<int64_t>());
    fmt::print("dataplane  {}\n", dataplane_line(status));
    fmt::print("blades     {} up, {} overloaded, {} draining, {} down; {} agent(s) connected\n",
               blades["up"].get<int>(), blades["overloaded"].get<int>(), blades["draining"].get<int>(),
               blades["down"].get<int>(), status["agents"].get<int>());
    for (const json& left : status["left"])
        fmt::print("left       blade {} ({}): {}\n", left["id"].get<int>(), left["name"].get<std::string>(),
                   left["gone"].get<bool>() ? "gone" : "configured no more; the flows that it has live on");
    fmt::print("sessions   {} away from their home\n", status["moved_sessions"].get<uint64_t>());
    for (const auto& [kind, repository] : status["repositories"].items())
        fmt::print("repository {}: {}, {} change(s) lost\n", kind,
                   repository["up"].get<bool>() ? "up" : "DOWN: " + repository["problem"].get<std::string>(),
                   repository["lost"].get<uint64_t>());
    fmt::print("\n");
    Table table({"SERVICE", "ADDRESSES", "PORT", "POOL", "STEERING", "BINDING", "BLADES UP"});
    for (const json& service : status["services"])
        table.add({service["name"], joined(service["addresses"]), service["port"].dump(), service["pool"],
                   service["steering"], binding_of(service), blades_up(service)});
    table.print();
    show_routes(status["services"]);
    for (const json& service : status["services"])
        if (!service["binding"].is_null())
            fmt::print("\n{}: {} binding ({})\n", service["name"].get<std::string>(), binding_of(service),
                       service["binding"]["why"].get<std::string>());
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
    subcommand(app, "status", "The chassis at a glance")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation.socket, "/v1/status"), show_status); };
    });
}

}  // namespace keyrail::cli
