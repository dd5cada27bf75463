// SPDX-License-Identifier: Apache-2.0
// keyrail event: what happened on the chassis, and who did it.
#include <fmt/chrono.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <thread>

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
int follow(const Invocation& invocation) {
    for (uint64_t last = 0;;) {
        const Reply reply = ask(invocation, fmt::format("/v1/events?since={}", last));
        if (!reply) return complain(invocation, reply.error());
        for (const json& event : reply->at("events")) show_event(invocation, event);
        std::fflush(stdout);
        last = std::max(last, reply->at("last").get<uint64_t>());
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
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
        invocation.run = [&] { return follow(invocation); };
    });
}

}  // namespace keyrail::cli
