// SPDX-License-Identifier: Apache-2.0
// keyrail blade: list, drain, resume, off, enroll, revoke, certify.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/pki/ca.h"
#include "control/protocol/toml_table.h"
#include "dataplane/common/session_name.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string drain_text(const json& drain) {
    std::string text = fmt::format("{} moved, {} left, {} failed", drain["moved"].get<uint64_t>(),
                                   drain["left"].get<uint64_t>(), drain["failed"].get<uint64_t>());
    if (drain["empty"].get<bool>()) return text + "; empty";
    return text + fmt::format("; about {} s to go", drain["estimate_s"].get<double>());
}

std::string remarks(const json& blade) {
    std::string text = blade["why_down"];
    if (!blade["drain"].is_null()) text += (text.empty() ? "" : "; ") + drain_text(blade["drain"]);
    for (const json* list : {&blade["faults"], &blade["agent"]["problems"]})
        for (const json& problem : *list)
            if (problem != blade["why_down"]) text += (text.empty() ? "" : "; ") + problem.get<std::string>();
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
    Table table({"ID", "NAME", "ADDRESS", "STATE", "FLOWS", "AGENT", "LOAD", "SESSIONS", "RESUMED", "FULL",
                 "REMARKS"});
    for (const json& blade : blades)
        table.add({blade["id"].dump(), blade["name"], blade["address"], blade["state"],
                   blade["gone"].get<bool>() ? "gone" : "live",
                   blade["agent"]["connected"].get<bool>() ? "connected" : "away", load_of(blade),
                   blade["sessions"].dump(), blade["resumed"].dump(), blade["full"].dump(), remarks(blade)});
    table.print();
}

void show_change(const json& blade) {
    fmt::print("blade {} ({}) is {}", blade["id"].get<int>(), blade["name"].get<std::string>(),
               blade["state"].get<std::string>());
    if (!blade["drain"].is_null()) fmt::print("; {}", drain_text(blade["drain"]));
    fmt::print("\n");
    for (const json& note : blade["notes"]) fmt::print("note: {}\n", note.get<std::string>());
}

void add_resume(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command = subcommand(blade, "resume", "Takes new clients again");
    command->add_option("id", *id, "blade id")->required();
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id] {
            return print(invocation, tell(invocation.socket, fmt::format("/v1/blades/{}/resume", *id)),
                         show_change);
        };
    });
}

void add_off(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command = subcommand(
        blade, "off", "It has no power: its connections are bound anew at once; refused while it answers");
    command->add_option("id", *id, "blade id")->required();
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id] {
            return print(
                invocation, tell(invocation.socket, fmt::format("/v1/blades/{}/off", *id)), [&](const json&) {
                    fmt::print("blade {} is off; what it had is bound anew until it answers again\n", *id);
                });
        };
    });
}

void show_token(const json& reply) {
    fmt::print("{}\n", reply["token"].get<std::string>());
    fmt::print(stderr,
               "good for one 'keyrail-agent join', until {}; anybody who has it can become blade {}\n",
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

struct DrainArguments {
    std::string id;
    uint32_t rate = 0;
    uint64_t deadline_s = 0;
    bool wait = false;
};

/// Asks until the blade is empty, or nobody drains it any more; a line that is written over shows how far it
/// is.
Result<json> await_drain(const Invocation& invocation, const DrainArguments& arguments) {
    const bool show = !invocation.json && isatty(STDOUT_FILENO) == 1;
    for (;;) {
        auto blades = ask(invocation.socket, "/v1/blades");
        if (!blades) return blades;
        const auto blade = std::ranges::find_if(
            *blades, [&](const json& entry) { return entry["id"].dump() == arguments.id; });
        if (blade == blades->end() || (*blade)["drain"].is_null())
            return fail("blade {} is not being drained any more", arguments.id);
        const json& drain = (*blade)["drain"];
        if (show) fmt::print("\r{:<70}", drain_text(drain));
        if (show) std::fflush(stdout);
        const bool empty = drain["empty"];
        if (empty && show) fmt::print("\n");
        if (empty) (*blade)["notes"] = json::array();
        if (empty) return *blade;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

int drain(const Invocation& invocation, const DrainArguments& arguments) {
    json body = json::object();
    if (arguments.rate != 0) body["rate"] = arguments.rate;
    if (arguments.deadline_s != 0) body["deadline_s"] = arguments.deadline_s;
    auto reply = tell(invocation.socket, fmt::format("/v1/blades/{}/drain", arguments.id), body);
    if (reply && arguments.wait) reply = await_drain(invocation, arguments);
    return print(invocation, reply, show_change);
}

void add_drain(CLI::App& blade, Invocation& invocation) {
    const auto arguments = std::make_shared<DrainArguments>();
    CLI::App* command =
        subcommand(blade, "drain", "New clients go elsewhere, and so do the blade's sessions");
    command->add_option("id", arguments->id, "blade id")->required();
    command->add_option("--rate", arguments->rate, "sessions moved per second (2000/s)")
        ->transform([](const std::string& text) {
            return text.ends_with("/s") ? text.substr(0, text.size() - 2) : text;
        });
    command->add_option("--deadline", arguments->deadline_s, "by then the blade is to be free (90s, 30m, 2h)")
        ->transform(CLI::AsNumberWithUnit(std::map<std::string, uint64_t>{{"s", 1}, {"m", 60}, {"h", 3600}}));
    command->add_flag("--wait", arguments->wait, "show how far it is, until the blade has no sessions left");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] { return drain(invocation, *arguments); };
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
        ->check(CLI::Range(BladeId::kMin, BladeId::kMax));
    command->add_option("--dir", arguments->dir, "folder of the chassis CA")->required();
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return show_files(invocation,
                              pki::certify(arguments->dir, Identity::of_blade(BladeId(arguments->id))));
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
    add_drain(*blade, invocation);
    add_resume(*blade, invocation);
    add_off(*blade, invocation);
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
