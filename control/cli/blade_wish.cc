// SPDX-License-Identifier: Apache-2.0
// keyrail blade weight, disable, enable: what the operator wishes of a blade, beside drains.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show_wish(const json& blade) {
    fmt::print("blade {} ({}) is {}{}; weight {} %\n", blade.at("id").get<int>(),
               blade.at("name").get<std::string>(), blade.at("state").get<std::string>(),
               blade.at("disabled").get<bool>() ? ", disabled" : "", blade.at("weight").get<int>());
}

void add_wish(CLI::App& blade, Invocation& invocation, const char* name, const char* text) {
    const auto word = std::make_shared<std::string>();
    const std::string verb = name;
    CLI::App* command = subcommand(blade, name, text);
    add_blade_argument(*command, *word);
    command->callback([&invocation, word, verb] {
        invocation.run = [&invocation, word, verb] {
            return print(invocation, tell(invocation, path_of({"v1", "blades", *word, verb})), show_wish);
        };
    });
}

}  // namespace

void add_blade_wishes(CLI::App& blade, Invocation& invocation) {
    struct Arguments {
        std::string blade;
        uint32_t weight = 100;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* weight = subcommand(blade, "weight", "How much of its part of the new clients it gets");
    add_blade_argument(*weight, arguments->blade);
    weight->add_option("percent", arguments->weight, "1 to 100")
        ->required()
        ->type_name("PERCENT")
        ->check(CLI::Range(1, 100));
    weight->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return print(invocation,
                         tell(invocation, path_of({"v1", "blades", arguments->blade, "weight"}),
                              {{"weight", arguments->weight}}),
                         show_wish);
        };
    });
    add_wish(blade, invocation, "disable",
             "It takes nothing new; its sessions and connections stay, unlike with 'drain'");
    add_wish(blade, invocation, "enable", "It takes new clients again");
}

}  // namespace keyrail::cli
