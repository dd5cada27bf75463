// SPDX-License-Identifier: Apache-2.0
// What the commands of `keyrail` share: one file per noun adds its subcommands; the one that was typed sets
// `run`.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "control/protocol/exit_status.h"

namespace CLI {
class App;
}

namespace keyrail::cli {

struct Invocation {
    std::filesystem::path socket;
    bool json = false;
    bool yes = false;                                // to every question
    std::chrono::microseconds timeout{10'000'000};   // for an answer of keyraild
    std::optional<std::chrono::microseconds> watch;  // run again and again, so far apart
    std::function<int()> run;                        // of the command that was typed
};

void add_status(CLI::App& app, Invocation& invocation);
void add_blade(CLI::App& app, Invocation& invocation);
void add_stats(CLI::App& app, Invocation& invocation);
void add_checks(CLI::App& app, Invocation& invocation);
void add_service(CLI::App& app, Invocation& invocation);
/// Below `keyrail blade`.
void add_blade_wishes(CLI::App& blade, Invocation& invocation);
void add_session(CLI::App& app, Invocation& invocation);
void add_chassis(CLI::App& app, Invocation& invocation);
void add_operator(CLI::App& app, Invocation& invocation);
void add_keys(CLI::App& app, Invocation& invocation);
void add_config(CLI::App& app, Invocation& invocation);
void add_events(CLI::App& app, Invocation& invocation);
void add_explain(CLI::App& app, Invocation& invocation);
void add_trace(CLI::App& app, Invocation& invocation);
void add_top(CLI::App& app, Invocation& invocation);
void add_look(CLI::App& app, Invocation& invocation);

/// A subcommand whose options may stand anywhere behind it, those of `keyrail` included.
CLI::App* subcommand(CLI::App& parent, const char* name, const char* text);
/// One that only shows something: takes --watch and --no-headers.
CLI::App* showing(CLI::App& parent, Invocation& invocation, const char* name, const char* text);

/// Adds a duration (words.h) as an option.
void add_duration(CLI::App& command, const std::string& name,
                  const std::function<void(std::chrono::microseconds)>& take, const std::string& text);

/// A blade's id or name, as the first argument. Nothing else gets as far as a path of the API.
void add_blade_argument(CLI::App& command, std::string& word);

/// "keyrail: <text>" on stderr, or with --json an error object on stdout. Gives the status.
int complain(const Invocation& invocation, int status, const std::string& text);

/// May it be done? Asks on a terminal; without one it needs --yes. 0: yes; else the exit status.
int confirmed(const Invocation& invocation, const std::string& what);

/// What is wrong with the words of a command line when one of them is no command: "" when nothing is.
std::string unknown_command(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace keyrail::cli
