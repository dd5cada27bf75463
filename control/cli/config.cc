// SPDX-License-Identifier: Apache-2.0
// keyrail config: check a file, or have keyraild read its own again.
#include "control/daemon/config/config.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

int check(const Invocation& invocation, const std::filesystem::path& file) {
    const auto config = check_config(file);
    const ConfigMistakes mistakes = config ? ConfigMistakes{} : config.error();
    if (invocation.json)
        fmt::print("{}\n", json{{"file", file}, {"ok", !!config}, {"mistakes", mistakes}}.dump(2));
    if (!invocation.json && config) fmt::print("{}: ok\n", file.string());
    if (!invocation.json)
        for (const std::string& mistake : mistakes) fmt::print(stderr, "{}\n", mistake);
    return config ? kOk : kFailed;
}

}  // namespace

void add_config(CLI::App& app, Invocation& invocation) {
    const auto file = std::make_shared<std::filesystem::path>();
    CLI::App* config = subcommand(app, "config", "keyraild's configuration");
    config->require_subcommand(1);
    CLI::App* checking = subcommand(*config, "check", "Check a file, as keyraild --check does");
    checking->add_option("file", *file, "configuration (TOML)")->required();
    checking->callback(
        [&invocation, file] { invocation.run = [&invocation, file] { return check(invocation, *file); }; });
    subcommand(*config, "reload", "Have keyraild read its configuration again")->callback([&] {
        invocation.run = [&] {
            return print(invocation, tell(invocation.socket, "/v1/reload"), [](const json& reply) {
                fmt::print("{}: applied\n", reply["config"].get<std::string>());
            });
        };
    });
}

}  // namespace keyrail::cli
