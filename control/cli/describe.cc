// SPDX-License-Identifier: Apache-2.0
#include "control/cli/describe.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace keyrail::cli {

using nlohmann::json;

namespace {

json option_json(const CLI::Option& option) {
    json names = json::array();
    for (const std::string& name : option.get_snames()) names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
    return {{"names", names},
            {"argument", option.get_positional() ? option.get_single_name() : ""},
            {"takes", option.get_type_size() == 0 ? "" : option.get_type_name()},
            {"required", option.get_required()},
            {"many", option.get_items_expected_max() > 1},
            {"text", option.get_description()},
            {"default", option.get_default_str()}};
}

json command_json(const CLI::App& app) {
    json options = json::array(), commands = json::array();
    for (const CLI::Option* option : app.get_options({})) options.push_back(option_json(*option));
    for (const CLI::App* one : app.get_subcommands({})) {
        const json inner = command_json(*one);
        if (!one->get_name().empty()) commands.push_back(inner);
        // An option group is no command: what is in it is its parent's.
        if (one->get_name().empty())
            for (const json& option : inner.at("options")) options.push_back(option);
    }
    return {{"name", app.get_name()},
            {"text", app.get_description()},
            {"options", options},
            {"commands", commands}};
}

}  // namespace

std::string describe(const CLI::App& app) { return command_json(app).dump(1); }

}  // namespace keyrail::cli
