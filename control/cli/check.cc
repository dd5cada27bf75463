// SPDX-License-Identifier: Apache-2.0
// keyrail check: what keyraild's health checks find. And service disable, enable.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/protocol/words.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string state_of(const json& check) {
    if (check.at("paused").get<bool>()) return "paused";
    if (!check.at("held_ms").is_null()) return "held";
    return check.at("state");
}

std::string since_of(const json& check) {
    if (check.at("since_ms").is_null()) return "-";
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    const auto ms = std::max<int64_t>(0, now - check.at("since_ms").get<int64_t>());
    return duration_text(std::chrono::seconds(ms / 1000));
}

std::string took_of(const json& answer) {
    return fmt::format("{:.1f} ms", answer.at("took_us").get<double>() / 1000);
}

std::string remark_of(const json& check) {
    const std::string trouble = check.at("trouble");
    if (!trouble.empty()) return "cannot be made: " + trouble;
    if (check.at("last").is_null()) return "nothing yet";
    std::string text = check.at("last").at("answer");
    if (!check.at("held_ms").is_null())
        text += fmt::format("; stays out for {:.0f} s more, it was out {} times",
                            check.at("held_ms").get<double>() / 1000, check.at("flaps").get<uint64_t>());
    if (check.at("fail_open").get<bool>()) text += "; too few are healthy: checks take nobody out";
    return text;
}

void show_checks(const json& reply) {
    Table table({"BLADE", "NAME", "SERVICE", "ADDRESS", "TYPE", "STATE", "SINCE", "SHARE", "RESUMED", "TOOK",
                 "ANSWER"});
    for (const json& check : reply.at("checks")) {
        const json& last = check.at("last");
        table.add(
            {check.at("blade").dump(), check.at("name"), check.at("service"), check.at("address"),
             check.at("type"), state_of(check), since_of(check),
             fmt::format("{}%", check.at("share").get<int>()),
             fmt::format("{}/{}", check.at("resumed").get<uint64_t>(), check.at("offered").get<uint64_t>()),
             last.is_null() ? "-" : took_of(last), remark_of(check)});
    }
    table.print();
    if (table.empty()) fmt::print("no pool has a [pool.check] table\n");
}

void show_answers(const json& reply) {
    Table table({"SERVICE", "ADDRESS", "RESULT", "TOOK", "RESUMED", "ANSWER"});
    for (const json& check : reply.at("checks")) {
        const json& resumed = check.at("resumed");
        table.add({check.at("service"), check.at("address"),
                   !check.at("made").get<bool>()  ? "not made"
                   : check.at("good").get<bool>() ? "good"
                                                  : "failed",
                   took_of(check),
                   resumed.is_null()     ? "-"
                   : resumed.get<bool>() ? "yes"
                                         : "no",
                   check.at("answer")});
    }
    table.print();
}

/// Whether all of them were good.
int run(const Invocation& invocation, const std::string& blade) {
    const Reply reply = tell(invocation, path_of({"v1", "blades", blade, "check"}));
    if (const int status = print(invocation, reply, show_answers); status != kDone) return status;
    const json& all = reply->at("checks");
    return std::ranges::all_of(all, [](const json& check) { return check.at("good").get<bool>(); })
               ? kDone
               : kRefused;
}

void add_service_command(CLI::App& service, Invocation& invocation, const char* name, const char* text) {
    const auto word = std::make_shared<std::string>();
    const std::string verb = name;
    CLI::App* command = subcommand(service, name, text);
    command->add_option("service", *word, "its name")->required()->type_name("SERVICE");
    command->callback([&invocation, word, verb] {
        invocation.run = [&invocation, word, verb]() -> int {
            if (verb == "disable")
                if (const int no =
                        confirmed(invocation, fmt::format("new clients of service '{}' are refused", *word)))
                    return no;
            return print(invocation, tell(invocation, path_of({"v1", "services", *word, verb})),
                         [&](const json& reply) {
                             fmt::print(
                                 "service '{}' {}\n", *word,
                                 reply.at("disabled").get<bool>() ? "takes nobody new" : "takes clients");
                         });
        };
    });
}

}  // namespace

void add_checks(CLI::App& app, Invocation& invocation) {
    CLI::App* check =
        subcommand(app, "check", "Health checks: what keyraild finds when it asks as clients do");
    check->require_subcommand(1);
    showing(*check, invocation, "list", "Every blade, service and address, with the answer that it got")
        ->callback([&] {
            invocation.run = [&] { return print(invocation, ask(invocation, "/v1/checks"), show_checks); };
        });
    const auto blade = std::make_shared<std::string>();
    CLI::App* command = subcommand(*check, "run", "Check a blade now; exit status 1 if a check fails");
    add_blade_argument(*command, *blade);
    command->callback(
        [&invocation, blade] { invocation.run = [&invocation, blade] { return run(invocation, *blade); }; });
}

void add_service(CLI::App& app, Invocation& invocation) {
    CLI::App* service = app.get_subcommand("service");  // add_look() makes it
    add_service_command(*service, invocation, "disable", "New clients are refused; what it has lives");
    add_service_command(*service, invocation, "enable", "It takes clients again");
}

}  // namespace keyrail::cli
