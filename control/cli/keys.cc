// SPDX-License-Identifier: Apache-2.0
// keyrail keys: list, rotate.
#include <CLI/CLI.hpp>
#include <memory>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show_keys(const json& keys) {
    Table table({"KEY", "ID", "STATE", "MADE", "RETIRES"});
    for (const char* kind : {"names", "cookies"})
        for (const json& key : keys.at(kind))
            table.add({std::string(kind) == "names" ? "name" : "cookie", key.at("id").dump(), key.at("state"),
                       key.at("made"),
                       key.at("retires").is_null() ? "-" : key.at("retires").get<std::string>()});
    table.print();
    for (const json& who : keys.at("waits_for"))
        fmt::print("the coming keys wait for {}\n", who.get<std::string>());
}

bool any_coming(const json& keys) {
    for (const char* kind : {"names", "cookies"})
        for (const json& key : keys.at(kind))
            if (key.at("state") == "coming") return true;
    return false;
}

/// Asks until the new keys are in use. Whoever is waited for is said at each change.
Reply await_rotation(const Invocation& invocation) {
    for (json waited;;) {
        Reply keys = ask(invocation, "/v1/keys");
        if (!keys || !any_coming(*keys)) return keys;
        if (const json& now = keys->at("waits_for"); now != waited && !invocation.json) {
            waited = now;
            for (const json& who : waited)
                fmt::print(stderr, "keyrail: waits for {}\n", who.get<std::string>());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

}  // namespace

void add_keys(CLI::App& app, Invocation& invocation) {
    CLI::App* keys = subcommand(app, "keys", "The keys of session names and of SYN cookies");
    keys->require_subcommand(1);
    showing(*keys, invocation, "list", "Which there are; never the keys themselves")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation, "/v1/keys"), show_keys); };
    });
    const auto wait = std::make_shared<bool>(false);
    CLI::App* rotation = subcommand(
        *keys, "rotate", "Replace them now; the old ones open what they made, so no session is lost");
    rotation->add_flag("--wait", *wait, "until everybody has the new ones and they are in use");
    rotation->callback([&invocation, wait] {
        invocation.run = [&invocation, wait] {
            const Reply reply = tell(invocation, "/v1/keys/rotate");
            return print(invocation, reply && *wait ? await_rotation(invocation) : reply, show_keys);
        };
    });
}

}  // namespace keyrail::cli
