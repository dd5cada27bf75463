// SPDX-License-Identifier: Apache-2.0
// What all commands need: arguments that are checked, questions, and a word for whoever mistypes.
#include "control/cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <iostream>

#include "control/cli/table.h"
#include "control/protocol/words.h"

namespace keyrail::cli {

CLI::App* subcommand(CLI::App& parent, const char* name, const char* text) {
    CLI::App* command = parent.add_subcommand(name, text);
    command->fallthrough();
    return command;
}

CLI::App* showing(CLI::App& parent, Invocation& invocation, const char* name, const char* text) {
    CLI::App* command = subcommand(parent, name, text);
    command
        ->add_option_function<std::string>(
            "--watch",
            [&invocation](const std::string& every) {
                const bool said =
                    !every.empty() && every != "{}" && every != "true";  // CLI11's words for none
                const auto read = parse_duration(said ? every : "2s");
                if (!read) throw CLI::ValidationError("--watch", read.error().message);
                if (*read < std::chrono::milliseconds(100))
                    throw CLI::ValidationError("--watch", "at least 100ms");
                invocation.watch = *read;
            },
            "again and again, so far apart (2s)")
        ->expected(0, 1)
        ->default_str("2s")
        ->type_name("[DURATION]");
    command->add_flag_callback(
        "--no-headers", [] { Table::headers(false); }, "tables without their first line");
    return command;
}

void add_duration(CLI::App& command, const std::string& name,
                  const std::function<void(std::chrono::microseconds)>& take, const std::string& text) {
    command
        .add_option_function<std::string>(
            name,
            [name, take](const std::string& written) {
                const auto read = parse_duration(written);
                if (!read) throw CLI::ValidationError(name, read.error().message);
                take(*read);
            },
            text)
        ->type_name("DURATION");
}

void add_blade_argument(CLI::App& command, std::string& word) {
    command.add_option("blade", word, "a blade's id (1 to 4095) or name")
        ->required()
        ->type_name("BLADE")
        ->check([](const std::string& text) -> std::string {
            const bool plain = std::ranges::all_of(text, [](unsigned char byte) {
                return std::isalnum(byte) != 0 || byte == '-' || byte == '_' || byte == '.';
            });
            if (plain && !text.empty()) return "";
            return fmt::format(
                "'{}' is no blade; write an id (1 to 4095) or a name, see 'keyrail blade list'", text);
        });
}

int confirmed(const Invocation& invocation, const std::string& what) {
    if (invocation.yes) return kDone;
    if (invocation.json || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return complain(invocation, kRefused, what + ", and that cannot be undone; say --yes");
    fmt::print(stderr, "{}, and that cannot be undone. Go on? [y/N] ", what);
    std::string answer;
    std::getline(std::cin, answer);
    if (answer == "y" || answer == "Y" || answer == "yes") return kDone;
    return complain(invocation, kRefused, "not done");
}

namespace {

/// Takes its value from the next word.
bool takes_a_word(const CLI::App* app, const std::string& word) {
    if (!word.starts_with("--") || word.find('=') != std::string::npos) return false;
    for (; app; app = app->get_parent())
        if (const CLI::Option* option = app->get_option_no_throw(word))
            return option->get_items_expected_min() > 0;
    return false;
}

}  // namespace

std::string unknown_command(const CLI::App& app, const std::vector<std::string>& words) {
    const CLI::App* at = &app;
    std::string so_far;
    for (size_t i = 0; i < words.size(); i++) {
        if (words[i].starts_with('-')) {
            if (takes_a_word(at, words[i])) i++;
            continue;
        }
        std::vector<std::string> known;
        for (const CLI::App* one : at->get_subcommands({}))
            if (!one->get_name().empty()) known.push_back(one->get_name());
        if (known.empty()) return "";  // arguments from here on
        if (std::ranges::find(known, words[i]) == known.end()) {
            const auto close = nearest(words[i], known);
            const std::string advice = close ? fmt::format("did you mean '{}'?", *close)
                                             : fmt::format("there are: {}", fmt::join(known, ", "));
            return fmt::format("there is no command 'keyrail {}{}'; {}", so_far, words[i], advice);
        }
        at = at->get_subcommand(words[i]);
        so_far += words[i] + ' ';
    }
    return "";
}

}  // namespace keyrail::cli
