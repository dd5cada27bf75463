// SPDX-License-Identifier: Apache-2.0
// keyrail: the operator's command. Exit status: 0 done, 1 not done, 2 not understood.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "control/cli/command.h"

namespace keyrail::cli {

CLI::App* subcommand(CLI::App& parent, const char* name, const char* text) {
    CLI::App* command = parent.add_subcommand(name, text);
    command->fallthrough();
    return command;
}

int complain(const std::string& text) {
    fmt::print(stderr, "keyrail: {}\n", text);
    return kFailed;
}

namespace {

int run(int argc, char** argv) {
    const char* from_environment = std::getenv("KEYRAIL_SOCKET");
    Invocation invocation;
    invocation.socket = from_environment ? from_environment : "/run/keyrail/keyraild.sock";

    CLI::App app{"keyrail: the operator's command for a Keyrail chassis"};
    app.require_subcommand(1);
    app.set_version_flag("--version", KEYRAIL_VERSION);
    app.add_option("--socket", invocation.socket,
                   "keyraild's socket (default: $KEYRAIL_SOCKET, else /run/keyrail/…)");
    app.add_flag("--json", invocation.json, "answer in JSON");
    add_status(app, invocation);
    add_blade(app, invocation);
    add_stats(app, invocation);
    add_session(app, invocation);
    add_chassis(app, invocation);
    add_keys(app, invocation);
    add_config(app, invocation);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? kOk : kUsage;
    }
    return invocation.run();
}

}  // namespace
}  // namespace keyrail::cli

int main(int argc, char** argv) {
    try {
        return keyrail::cli::run(argc, argv);
    } catch (const std::exception& error) {
        return keyrail::cli::complain(
            fmt::format("{}; do keyrail and keyraild come from the same release?", error.what()));
    }
}
