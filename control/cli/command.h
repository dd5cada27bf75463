// SPDX-License-Identifier: Apache-2.0
// What the commands of `keyrail` share: one file per noun adds its subcommands; the one that was typed sets
// `run`.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace keyrail::cli {

inline constexpr int kOk = 0, kFailed = 1, kUsage = 2;  // exit statuses

struct Invocation {
    std::filesystem::path socket;
    bool json = false;
    std::function<int()> run;  // of the command that was typed
};

void add_status(CLI::App& app, Invocation& invocation);
void add_blade(CLI::App& app, Invocation& invocation);
void add_stats(CLI::App& app, Invocation& invocation);
void add_session(CLI::App& app, Invocation& invocation);
void add_chassis(CLI::App& app, Invocation& invocation);
void add_keys(CLI::App& app, Invocation& invocation);
void add_config(CLI::App& app, Invocation& invocation);

/// A subcommand whose options may stand anywhere behind it, those of `keyrail` included.
CLI::App* subcommand(CLI::App& parent, const char* name, const char* text);

/// "keyrail: <text>" on stderr; gives kFailed.
int complain(const std::string& text);

}  // namespace keyrail::cli
