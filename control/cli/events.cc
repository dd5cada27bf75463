// SPDX-License-Identifier: Apache-2.0
// keyrail event: what happened on the chassis, and who did it.
#include <fmt/chrono.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "control/cli/api_client.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show_event(const Invocation& invocation, const json& event) {
    if (invocation.json) {
        fmt::print("{}\n", event.dump());
        return;
    }
    const auto at = static_cast<std::time_t>(event.at("unix_ms").get<uint64_t>() / 1000);
    fmt::print("{:%Y-%m-%dT%H:%M:%SZ}  {:<22} {}  (by {})\n", fmt::gmtime(at),
               event.at("kind").get<std::string>(), event.at("text").get<std::string>(),
               event.at("actor").get<std::string>());
}

/// As they come, until it is ended.
int follow_events(const Invocation& invocation) {
    return complain(invocation,
                    follow(invocation, "/v1/events", [&](const std::string& kind, const json& event) {
                        if (kind == "event") show_event(invocation, event);
                        std::fflush(stdout);
                        return true;
                    }));
}

}  // namespace

void add_events(CLI::App& app, Invocation& invocation) {
    CLI::App* event = subcommand(app, "event", "What happened, and who did it");
    event->require_subcommand(1);
    showing(*event, invocation, "list", "The latest thousand")->callback([&] {
        invocation.run = [&] {
            return print(invocation, ask(invocation, "/v1/events"), [&](const json& reply) {
                for (const json& one : reply.at("events")) show_event(invocation, one);
            });
        };
    });
    subcommand(*event, "follow", "Those of before, and each as it comes")->callback([&] {
        invocation.run = [&] { return follow_events(invocation); };
    });
}

}  // namespace keyrail::cli
