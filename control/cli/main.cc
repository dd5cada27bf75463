// SPDX-License-Identifier: Apache-2.0
// keyrail: the operator's command. Exit statuses: control/protocol/exit_status.h.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <thread>

#include "control/cli/command.h"
#include "control/cli/describe.h"

namespace keyrail::cli {

namespace {

void add_all(CLI::App& app, Invocation& invocation) {
    app.require_subcommand(1);
    app.set_version_flag("--version", "keyrail " KEYRAIL_VERSION);
    app.add_option("--socket", invocation.socket,
                   "keyraild's socket (default: $KEYRAIL_SOCKET, else /run/keyrail/keyraild.sock)")
        ->type_name("PATH");
    app.add_flag("--json", invocation.json, "answer in JSON, errors too");
    app.add_flag("--yes", invocation.yes, "yes to every question");
    add_duration(
        app, "--timeout", [&invocation](std::chrono::microseconds time) { invocation.timeout = time; },
        "how long to wait for an answer of keyraild (10s)");
    add_status(app, invocation);
    add_blade(app, invocation);
    add_checks(app, invocation);
    add_stats(app, invocation);
    add_session(app, invocation);
    add_chassis(app, invocation);
    add_operator(app, invocation);
    add_keys(app, invocation);
    add_config(app, invocation);
    add_events(app, invocation);
    add_explain(app, invocation);
    add_trace(app, invocation);
    add_top(app, invocation);
    add_look(app, invocation);
    add_service(app, invocation);
    subcommand(app, "version", "The version of this command")->callback([&invocation] {
        invocation.run = [&invocation] {
            if (invocation.json)
                fmt::print("{{\"version\": \"{}\"}}\n", KEYRAIL_VERSION);
            else
                fmt::print("keyrail {}\n", KEYRAIL_VERSION);
            return kDone;
        };
    });
    const auto words = std::make_shared<std::vector<std::string>>();
    CLI::App* help = subcommand(app, "help", "What a command does: keyrail help blade drain");
    help->add_option("command", *words, "the command's words")->type_name("WORD");
    help->callback([&app, &invocation, words] {
        invocation.run = [&app, &invocation, words]() -> int {
            if (const std::string wrong = unknown_command(app, *words); !wrong.empty())
                return complain(invocation, kUsage, wrong);
            const CLI::App* command = &app;
            for (const std::string& word : *words) command = command->get_subcommand(word);
            fmt::print("{}", command->help());
            return kDone;
        };
    });
}

int run_again(const Invocation& invocation) {
    for (;;) {
        if (!invocation.json) fmt::print("\033[H\033[2J");
        const int status = invocation.run();
        std::fflush(stdout);
        if (status != kDone && status != kUnreachable && status != kNotInTime) return status;
        std::this_thread::sleep_for(*invocation.watch);
    }
}

int run(int argc, char** argv, Invocation& invocation) {
    CLI::App app{"keyrail: the operator's command for a Keyrail chassis", "keyrail"};
    add_all(app, invocation);
    std::vector<std::string> words(argv + 1, argv + argc);
    if (words == std::vector<std::string>{"--dump-commands"}) {
        fmt::print("{}\n", describe(app));
        return kDone;
    }
    if (const std::string wrong = unknown_command(app, words); !wrong.empty()) {
        invocation.json = std::ranges::find(words, "--json") != words.end();
        return complain(invocation, kUsage, wrong);
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        return complain(invocation, kUsage, fmt::format("{}; see --help", error.what()));
    }
    return invocation.watch ? run_again(invocation) : invocation.run();
}

}  // namespace
}  // namespace keyrail::cli

int main(int argc, char** argv) {
    using namespace keyrail;
    cli::Invocation invocation;
    const char* from_environment = std::getenv("KEYRAIL_SOCKET");
    invocation.socket = from_environment ? from_environment : "/run/keyrail/keyraild.sock";
    try {
        return cli::run(argc, argv, invocation);
    } catch (const std::exception& error) {
        return cli::complain(
            invocation, kRefused,
            fmt::format("an answer that is not understood ({}); do keyrail and keyraild come "
                        "from the same release?",
                        error.what()));
    }
}
