// SPDX-License-Identifier: Apache-2.0
// keyrail blade: list, drain, resume, enroll, revoke, certify.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/pki/ca.h"
#include "control/protocol/toml_table.h"
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

std::string load_of(const json& blade) {
    const int limit = blade["load_limit"];
    const std::string load = fmt::format("{:.0f}%", blade["load"].get<double>());
    return limit == 100 ? load : fmt::format("{} of {}%", load, limit);
}

void show_list(const json& blades) {
    Table table(
        {"ID", "NAME", "ADDRESS", "STATE", "AGENT", "LOAD", "SESSIONS", "RESUMED", "FULL", "REMARKS"});
    for (const json& blade : blades)
        table.add({blade["id"].dump(), blade["name"], blade["address"], blade["state"],
                   blade["agent"]["connected"].get<bool>() ? "connected" : "away", load_of(blade),
                   blade["sessions"].dump(), blade["resumed"].dump(), blade["full"].dump(), remarks(blade)});
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

void show_token(const json& reply) {
    fmt::print("{}\n", reply["token"].get<std::string>());
    fmt::print(stderr, "good for one 'keyrail-agent join', until {}; whoever has it can be blade {}\n",
               reply["expires"].get<std::string>(), reply["blade"].get<int>());
}

void add_enroll(CLI::App& blade, Invocation& invocation) {
    struct Arguments {
        std::string id, address, name;
        std::vector<std::string> pools;
        std::string valid = "1h";
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command =
        subcommand(blade, "enroll", "Print a token by which a machine becomes this blade, once");
    command->add_option("id", arguments->id, "blade id")->required();
    command
        ->add_option("--pools", arguments->pools, "pools that it serves; not for blades of the configuration")
        ->delimiter(',');
    command->add_option("--address", arguments->address, "its address on the backplane; likewise");
    command->add_option("--name", arguments->name, "default: blade-<id>; likewise");
    command->add_option("--valid", arguments->valid, "how long the token is good: 1min to 7d")
        ->capture_default_str();
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            const auto valid = parse_duration(arguments->valid);
            if (!valid) return complain("--valid: " + valid.error().message);
            json body = {{"valid_s", std::chrono::duration_cast<std::chrono::seconds>(*valid).count()}};
            if (!arguments->pools.empty()) body["pools"] = arguments->pools;
            if (!arguments->address.empty()) body["address"] = arguments->address;
            if (!arguments->name.empty()) body["name"] = arguments->name;
            const std::string path = fmt::format("/v1/blades/{}/enroll", arguments->id);
            return print(invocation, tell(invocation.socket, path, body), show_token);
        };
    });
}

void add_revoke(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command =
        subcommand(blade, "revoke", "Cut a blade off at once and for good; 'enroll' lets the slot in again");
    command->add_option("id", *id, "blade id")->required();
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id] {
            return print(invocation, tell(invocation.socket, fmt::format("/v1/blades/{}/revoke", *id)),
                         [&](const json&) {
                             fmt::print(
                                 "blade {} is revoked: cut off everywhere, its sessions and keys are worth "
                                 "nothing\n",
                                 *id);
                         });
        };
    });
}

int show_files(const Invocation& invocation, const Result<pki::Files>& files) {
    if (!files) return complain(files.error().message);
    json list = json::array();
    for (const auto& file : *files) list.push_back(file.string());
    if (invocation.json)
        fmt::print("{}\n", json{{"files", list}}.dump(2));
    else
        for (const auto& file : *files) fmt::print("{}\n", file.string());
    return kOk;
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
            return show_files(invocation, pki::certify(arguments->dir, Identity::of_blade(arguments->id)));
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
    add_enroll(*blade, invocation);
    add_revoke(*blade, invocation);
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
            return show_files(invocation, pki::init_chassis(arguments->dir, arguments->name));
        };
    });
    CLI::App* certify = subcommand(*chassis, "certify", "Make control's certificate and key anew");
    certify->add_option("--dir", arguments->dir, "folder of the chassis CA")->required();
    certify->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return show_files(invocation, pki::certify(arguments->dir, Identity::control()));
        };
    });
}

}  // namespace keyrail::cli
