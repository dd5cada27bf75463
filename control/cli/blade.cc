// SPDX-License-Identifier: Apache-2.0
// keyrail blade: list, drain, resume, off, enroll, revoke, certify.
#include <fmt/chrono.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/pki/ca.h"
#include "control/protocol/words.h"
#include "dataplane/common/session_name.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string drain_text(const json& drain) {
    std::string text = fmt::format("{} moved, {} left, {} failed", drain.at("moved").get<uint64_t>(),
                                   drain.at("left").get<uint64_t>(), drain.at("failed").get<uint64_t>());
    if (drain.at("empty").get<bool>()) return text + "; empty";
    if (const json stuck = drain.value("stuck", json()); stuck.is_string())
        text += "; does not go on: " + stuck.get<std::string>();
    else
        text += fmt::format("; about {} s to go", drain.at("estimate_s").get<double>());
    if (const json& until = drain.at("deadline_ms"); until.is_number())
        text += fmt::format("; is to be free at {:%Y-%m-%dT%H:%M:%SZ}",
                            fmt::gmtime(static_cast<std::time_t>(until.get<uint64_t>() / 1000)));
    return text;
}

std::string remarks(const json& blade) {
    std::string text = blade.at("why_down");
    if (!blade.at("drain").is_null()) text += (text.empty() ? "" : "; ") + drain_text(blade.at("drain"));
    for (const json* list : {&blade.at("faults"), &blade.at("agent").at("problems")})
        for (const json& problem : *list)
            if (problem != blade.at("why_down"))
                text += (text.empty() ? "" : "; ") + problem.get<std::string>();
    for (const json& server : blade.at("servers"))
        if (text.empty() && !server.at("listening").get<bool>())
            text = fmt::format("nothing listens on port {}", server.at("port").get<int>());
    return text;
}

std::string load_of(const json& blade) {
    const int limit = blade.at("load_limit");
    const std::string load = fmt::format("{:.0f}%", blade.at("load").get<double>());
    return limit == 100 ? load : fmt::format("{} of {}%", load, limit);
}

void show_list(const json& blades) {
    Table table({"ID", "NAME", "ADDRESS", "STATE", "FLOWS", "AGENT", "LOAD", "SESSIONS", "RESUMED", "FULL",
                 "REMARKS"});
    for (const json& blade : blades)
        table.add({blade.at("id").dump(), blade.at("name"), blade.at("address"), blade.at("state"),
                   blade.at("gone").get<bool>() ? "gone" : "live",
                   blade.at("agent").at("connected").get<bool>() ? "connected" : "away", load_of(blade),
                   blade.at("sessions").dump(), blade.at("resumed").dump(), blade.at("full").dump(),
                   remarks(blade)});
    table.print();
}

void show_change(const json& blade) {
    fmt::print("blade {} ({}) is {}", blade.at("id").get<int>(), blade.at("name").get<std::string>(),
               blade.at("state").get<std::string>());
    if (!blade.at("drain").is_null()) fmt::print("; {}", drain_text(blade.at("drain")));
    fmt::print("\n");
    for (const json& note : blade.at("notes")) fmt::print("note: {}\n", note.get<std::string>());
}

void add_resume(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command = subcommand(blade, "resume", "Takes new clients again");
    add_blade_argument(*command, *id);
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id] {
            return print(invocation, tell(invocation, path_of({"v1", "blades", *id, "resume"})), show_change);
        };
    });
}

void add_off(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command = subcommand(
        blade, "off", "It has no power: its connections are bound anew at once; refused while it answers");
    add_blade_argument(*command, *id);
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id] {
            return print(
                invocation, tell(invocation, path_of({"v1", "blades", *id, "off"})), [&](const json&) {
                    fmt::print("blade {} is off; what it had is bound anew until it answers again\n", *id);
                });
        };
    });
}

void show_token(const json& reply) {
    fmt::print("{}\n", reply.at("token").get<std::string>());
    fmt::print(stderr,
               "good for one 'keyrail-agent join', until {}; anybody who has it can become blade {}\n",
               reply.at("expires").get<std::string>(), reply.at("blade").get<int>());
}

void add_enroll(CLI::App& blade, Invocation& invocation) {
    struct Arguments {
        uint16_t id = 0;
        std::string address, name;
        std::vector<std::string> pools;
        std::chrono::microseconds valid = std::chrono::hours(1);
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command =
        subcommand(blade, "enroll", "Print a token by which a machine becomes this blade, once");
    command->add_option("id", arguments->id, "blade id")
        ->required()
        ->type_name("ID")
        ->check(CLI::Range(BladeId::kMin, BladeId::kMax));
    command
        ->add_option("--pools", arguments->pools, "pools that it serves; not for blades of the configuration")
        ->delimiter(',');
    command->add_option("--address", arguments->address, "its address on the backplane; likewise");
    command->add_option("--name", arguments->name, "default: blade-<id>; likewise");
    add_duration(
        *command, "--valid", [arguments](std::chrono::microseconds time) { arguments->valid = time; },
        "how long the token is good: 1min to 7d (1h)");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            json body = {
                {"valid_s", std::chrono::duration_cast<std::chrono::seconds>(arguments->valid).count()}};
            if (!arguments->pools.empty()) body["pools"] = arguments->pools;
            if (!arguments->address.empty()) body["address"] = arguments->address;
            if (!arguments->name.empty()) body["name"] = arguments->name;
            const std::string path = path_of({"v1", "blades", std::to_string(arguments->id), "enroll"});
            return print(invocation, tell(invocation, path, body), show_token);
        };
    });
}

void add_revoke(CLI::App& blade, Invocation& invocation) {
    const auto id = std::make_shared<std::string>();
    CLI::App* command =
        subcommand(blade, "revoke", "Cut a blade off at once and for good; 'enroll' lets the slot in again");
    add_blade_argument(*command, *id);
    command->callback([&invocation, id] {
        invocation.run = [&invocation, id]() -> int {
            if (const int no = confirmed(
                    invocation, fmt::format("blade {} is cut off and its sessions are destroyed", *id)))
                return no;
            return print(invocation, tell(invocation, path_of({"v1", "blades", *id, "revoke"})),
                         [&](const json& reply) {
                             fmt::print(
                                 "blade {} is revoked: cut off everywhere, its sessions and keys are worth "
                                 "nothing\n",
                                 reply.at("revoked").get<int>());
                         });
        };
    });
}

struct DrainArguments {
    std::string blade;
    std::optional<uint32_t> rate;
    std::optional<std::chrono::microseconds> deadline;
    bool wait = false;
};

/// Asks until the blade is empty, or nobody drains it any more; a line that is written over shows how far it
/// is.
Reply await_drain(const Invocation& invocation, int id) {
    const bool show = !invocation.json && isatty(STDOUT_FILENO) == 1;
    for (;;) {
        Reply blades = ask(invocation, "/v1/blades");
        if (!blades) return blades;
        const auto blade =
            std::ranges::find_if(*blades, [&](const json& entry) { return entry.at("id") == id; });
        if (blade == blades->end() || blade->at("drain").is_null())
            return tl::make_unexpected(
                failure(kRefused, fmt::format("blade {} is not being drained any more", id)));
        const json& drain = blade->at("drain");
        if (show) fmt::print("\r{:<70}", drain_text(drain));
        if (show) std::fflush(stdout);
        const bool empty = drain.at("empty");
        if (empty && show) fmt::print("\n");
        if (empty) (*blade)["notes"] = json::array();
        if (empty) return *blade;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

/// On a terminal, before the last blade of a service takes nothing new.
int last_one_confirmed(const Invocation& invocation, const std::string& word) {
    if (invocation.yes || invocation.json || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return kDone;  // a script gets its drain, and the notes: 'resume' takes it back
    const Reply blades = ask(invocation, "/v1/blades"), status = ask(invocation, "/v1/status");
    if (!blades || !status) return kDone;  // the drain itself will say so
    for (const json& service : status->at("services"))
        for (const json& blade : *blades) {
            const bool named = blade.at("id").dump() == word || blade.at("name") == word;
            const json& members = service.at("blades");
            const bool member = std::ranges::find(members, blade.at("id")) != members.end();
            if (!named || !member || !blade.at("takes_new").get<bool>() || service.at("blades_up") != 1)
                continue;
            if (const int no =
                    confirmed(invocation, fmt::format("service '{}' will have no blade: its new clients "
                                                      "are refused",
                                                      service.at("name").get<std::string>())))
                return no;
        }
    return kDone;
}

int drain(const Invocation& invocation, const DrainArguments& arguments) {
    if (const int no = last_one_confirmed(invocation, arguments.blade)) return no;
    json body = json::object();
    if (arguments.rate) body["rate"] = *arguments.rate;
    if (arguments.deadline)
        body["deadline_s"] = std::chrono::ceil<std::chrono::seconds>(*arguments.deadline).count();
    Reply reply = tell(invocation, path_of({"v1", "blades", arguments.blade, "drain"}), body);
    if (reply && arguments.wait) reply = await_drain(invocation, reply->at("id"));
    return print(invocation, reply, show_change);
}

void add_drain(CLI::App& blade, Invocation& invocation) {
    const auto arguments = std::make_shared<DrainArguments>();
    CLI::App* command =
        subcommand(blade, "drain", "New clients go elsewhere, and so do the blade's sessions");
    add_blade_argument(*command, arguments->blade);
    command
        ->add_option_function<std::string>(
            "--rate",
            [arguments](const std::string& text) {
                const auto rate = parse_rate(text);
                if (!rate) throw CLI::ValidationError("--rate", rate.error().message);
                arguments->rate = *rate;
            },
            "sessions moved per second, N/s or N/min (2000/s)")
        ->type_name("RATE");
    add_duration(
        *command, "--deadline", [arguments](std::chrono::microseconds time) { arguments->deadline = time; },
        "by then the blade is to be free (90s, 30min, 2h)");
    command->add_flag("--wait", arguments->wait, "show how far it is, until the blade has no sessions left");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] { return drain(invocation, *arguments); };
    });
}

int show_files(const Invocation& invocation, const Result<pki::Files>& files) {
    if (!files) return complain(invocation, kRefused, files.error().message);
    json list = json::array();
    for (const auto& file : *files) list.push_back(file.string());
    if (invocation.json)
        fmt::print("{}\n", json{{"files", list}}.dump(2));
    else
        for (const auto& file : *files) fmt::print("{}\n", file.string());
    return kDone;
}

/// A key that is there is not made anew without a word.
int replaced(const Invocation& invocation, const std::filesystem::path& key) {
    std::error_code ignored;
    if (!std::filesystem::exists(key, ignored)) return kDone;
    return confirmed(invocation, fmt::format("{} is replaced by another key", key.string()));
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
        invocation.run = [&invocation, arguments]() -> int {
            if (const int no =
                    replaced(invocation, arguments->dir / fmt::format("blade-{}.key", arguments->id)))
                return no;
            return show_files(invocation,
                              pki::certify(arguments->dir, Identity::of_blade(BladeId(arguments->id))));
        };
    });
}

}  // namespace

void add_blade(CLI::App& app, Invocation& invocation) {
    CLI::App* blade = subcommand(app, "blade", "The blades of the chassis");
    blade->require_subcommand(1);
    showing(*blade, invocation, "list", "All blades, their state and their sessions")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation, "/v1/blades"), show_list); };
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
        invocation.run = [&invocation, arguments]() -> int {
            if (const int no = replaced(invocation, arguments->dir / "control.key")) return no;
            return show_files(invocation, pki::certify(arguments->dir, Identity::control()));
        };
    });
}

}  // namespace keyrail::cli
