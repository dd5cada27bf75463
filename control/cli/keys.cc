// SPDX-License-Identifier: Apache-2.0
// keyrail keys: list, rotate.
#include <CLI/CLI.hpp>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show_keys(const json& keys) {
    Table table({"KEY", "ID", "STATE", "MADE", "RETIRES"});
    for (const char* kind : {"names", "cookies"})
        for (const json& key : keys[kind])
            table.add({std::string(kind) == "names" ? "name" : "cookie", key["id"].dump(), key["state"],
                       key["made"], key["retires"].is_null() ? "-" : key["retires"].get<std::string>()});
    table.print();
    for (const json& who : keys["waits_for"])
        fmt::print("the coming keys wait for {}\n", who.get<std::string>());
}

}  // namespace

void add_keys(CLI::App& app, Invocation& invocation) {
    CLI::App* keys = subcommand(app, "keys", "The keys of session names and of SYN cookies");
    keys->require_subcommand(1);
    subcommand(*keys, "list", "Which there are; never the keys themselves")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation.socket, "/v1/keys"), show_keys); };
    });
    subcommand(*keys, "rotate", "Replace them now; the old ones open what they made, so no session is lost")
        ->callback([&] {
            invocation.run = [&] {
                return print(invocation, tell(invocation.socket, "/v1/keys/rotate"), show_keys);
            };
        });
}

}  // namespace keyrail::cli
