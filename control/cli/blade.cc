// SPDX-License-Identifier: Apache-2.0
// keyrail blade: list, drain, resume, certify.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/pki/ca.h"
#include "dataplane/steer/session_name.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string remarks(const json& blade) {
    std::string text = blade["why_down"];
    for (const json& problem : blade["agent"]["problems"])
        text += (text.empty() ? "" : "; ") + problem.get<std::string>();
    for (const json& server : blade["servers"])
        if (text.empty() && !server["listening"].get<bool>())
            text = fmt::format("nothing listens on port {}", server["port"].get<int>());
    return text;
}

void show_list(const json& blades) {
    Table table({"ID", "NAME", "ADDRESS", "STATE", "AGENT", "SESSIONS", "RESUMED", "FULL", "REMARKS"});
    for (const json& blade : blades)
        table.add({blade["id"].dump(), blade["name"], blade["address"], blade["state"],
                   blade["agent"]["connected"].get<bool>() ? "connected" : "away", blade["sessions"].dump(),
                   blade["resumed"].dump(), blade["full"].dump(), remarks(blade)});
    table.print();
}

void show_change(const json& blade) {
    const uint64_t sessions = blade["sessions"];
    fmt::print("blade {} ({}) is {}", blade["id"].get<int>(), blade["name"].get<std::string>(),
               blade["state"].get<std::string>());
    if (blade["draining"].get<bool>())
        fmt::print("; {} sessions are there, and move as their clients return", sessions);
    fmt::print("\n");
    for (const json& note : blade["notes"]) fmt::print("note: {}\n", note.get<std::string>());
}

void add_change(CLI::App& blade, Invocation& invocation, const char* verb, const char* text) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command = subcommand(blade, verb, text);
    command->add_option("id", *id, "blade id")->required();
    command->callback([&invocation, id, verb] {
        invocation.run = [&invocation, id, verb] {
            return print(invocation, tell(invocation.socket, fmt::format("/v1/blades/{}/{}", *id, verb)),
                         show_change);
        };
    });
}

void show_files(const Invocation& invocation, const pki::Files& files) {
    json list = json::array();
    for (const auto& file : files) list.push_back(file.string());
    if (invocation.json)
        fmt::print("{}\n", json{{"files", list}}.dump(2));
    else
        for (const auto& file : files) fmt::print("{}\n", file.string());
}

void add_certify(CLI::App& blade, Invocation& invocation) {
    struct Arguments {
        uint16_t id = 0;
        std::filesystem::path dir;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command =
        subcommand(blade, "certify", "Make a blade's certificate and key (DIR/blade-<id>.pem, .key)");
    command->add_option("id", arguments->id, "blade id")
        ->required()
        ->check(CLI::Range(kBladeIdMin, kBladeIdMax));
    command->add_option("--dir", arguments->dir, "folder of the chassis CA")->required();
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            const auto files = pki::certify(arguments->dir, Identity::of_blade(arguments->id));
            if (!files) return complain(files.error().message);
            show_files(invocation, *files);
            return kOk;
        };
    });
}

}  // namespace

void add_blade(CLI::App& app, Invocation& invocation) {
    CLI::App* blade = subcommand(app, "blade", "The blades of the chassis");
    blade->require_subcommand(1);
    subcommand(*blade, "list", "All blades, their state and their sessions")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation.socket, "/v1/blades"), show_list); };
    });
    add_change(*blade, invocation, "drain",
               "New clients go elsewhere; sessions move when their clients return");
    add_change(*blade, invocation, "resume", "Takes new clients again");
    add_certify(*blade, invocation);
}

void add_chassis(CLI::App& app, Invocation& invocation) {
    struct Arguments {
        std::filesystem::path dir;
        std::string name = "chassis";
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* chassis = subcommand(app, "chassis", "The chassis as a whole");
    chassis->require_subcommand(1);
    CLI::App* init = subcommand(*chassis, "init", "Make the chassis CA and control's certificate");
    init->add_option("--dir", arguments->dir, "folder for ca.pem, ca.key, control.pem, control.key")
        ->required();
    init->add_option("--name", arguments->name, "name of the chassis, for the CA's subject");
    init->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            const auto files = pki::init_chassis(arguments->dir, arguments->name);
            if (!files) return complain(files.error().message);
            show_files(invocation, *files);
            return kOk;
        };
    });
}

}  // namespace keyrail::cli
