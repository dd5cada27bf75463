// SPDX-License-Identifier: Apache-2.0
// keyrail config: apply, confirm, cancel, rollback, reload.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/config_commands.h"

namespace keyrail::cli {

using nlohmann::json;
namespace fs = std::filesystem;
using std::chrono::microseconds;

namespace {

struct How {
    std::optional<microseconds> confirm;
    std::string message;
    std::optional<uint64_t> if_revision;
    bool drain = false, no_guard = false, no_wait = false;
};

void add_how(CLI::App& command, How& how) {
    add_duration(
        command, "--confirm", [&how](microseconds time) { how.confirm = time; },
        "on trial: without 'keyrail config confirm' in this time the one before is in force again (60s)");
    command.add_option("-m,--message", how.message, "why, for the history")->type_name("TEXT");
    command
        .add_option_function<uint64_t>(
            "--if-revision", [&how](uint64_t number) { how.if_revision = number; },
            "only if this revision is in force")
        ->type_name("N");
    command.add_flag("--drain", how.drain, "first drain the blades that go");
    command.add_flag(
        "--no-guard", how.no_guard,
        "on trial: do not go back by itself when a service loses its last blade, or somebody does not "
        "take it in 5 s");
    command.add_flag("--no-wait", how.no_wait, "do not wait until dataplane and agents have it");
}

json body_of(const How& how) {
    json body = {{"message", how.message}, {"guard", !how.no_guard}, {"wait", !how.no_wait}};
    if (how.confirm) body["confirm_s"] = std::chrono::ceil<std::chrono::seconds>(*how.confirm).count();
    if (how.if_revision) body["if_revision"] = *how.if_revision;
    return body;
}

void show_applied(const json& reply) {
    show_effects(reply.at("effects"));
    fmt::print("revision {} is in force\n", reply.at("revision").get<uint64_t>());
    if (!reply.at("pending").is_null())
        fmt::print("on trial: run 'keyrail config confirm', or revision {} comes back\n",
                   reply.at("pending").at("back_to").get<uint64_t>());
    for (const json& who : reply.at("waits_for"))
        fmt::print(stderr, "keyrail: {} does not have it yet\n", who.get<std::string>());
}

/// Waits until the blade has no sessions left.
Reply drain_blade(const Invocation& invocation, uint16_t id) {
    if (Reply begun = tell(invocation, path_of({"v1", "blades", std::to_string(id), "drain"})); !begun)
        return begun;
    for (;;) {
        Reply blades = ask(invocation, "/v1/blades");
        if (!blades) return blades;
        const auto blade = std::ranges::find_if(*blades, [&](const json& one) { return one.at("id") == id; });
        if (blade == blades->end() || blade->at("drain").is_null())
            return tl::make_unexpected(
                failure(kRefused, fmt::format("blade {} is not being drained any more", id)));
        if (blade->at("drain").at("empty").get<bool>()) return *blade;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

/// The blades that go are drained, and take clients again when it comes to nothing.
Reply after_drains(const Invocation& invocation, const std::string& path, json body, const Failure& refused) {
    std::vector<uint16_t> drained;
    Reply reply = tl::make_unexpected(refused);
    for (const json& loss : refused.error.at("losses"))  // before any is drained
        if (loss.at("blade").is_null()) return reply;
    for (const json& loss : refused.error.at("losses")) {
        drained.push_back(loss.at("blade"));
        if (reply = drain_blade(invocation, drained.back()); !reply) break;
    }
    body["yes"] = true;
    if (reply) reply = tell(invocation, path, body);
    for (const uint16_t id : drained)
        if (!reply) (void)tell(invocation, path_of({"v1", "blades", std::to_string(id), "resume"}));
    return reply;
}

int apply(const Invocation& invocation, const std::string& path, json body, const How& how) {
    body["yes"] = invocation.yes;
    Reply reply = tell(invocation, path, body);
    const bool harm = !reply && reply.error().error.value("code", "") == "harm";
    if (harm && how.drain) {
        const Failure refused = reply.error();
        reply = after_drains(invocation, path, body, refused);
    } else if (harm && !invocation.json && isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) {
        for (const json& loss : reply.error().error.at("losses"))
            fmt::print(stderr, "! {}\n", loss.at("text").get<std::string>());
        if (const int no = confirmed(invocation, "this is lost")) return no;
        body["yes"] = true;
        reply = tell(invocation, path, body);
    }
    const int status = print(invocation, reply, show_applied);
    return status == kDone && !reply->at("waits_for").empty() ? int{kPartly} : status;
}

void add_apply(CLI::App& config, Invocation& invocation) {
    struct Arguments {
        fs::path file;
        How how;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command = subcommand(config, "apply", "Put a file in force, as a new revision");
    command->add_option("file", arguments->file, "configuration (TOML)")->required()->type_name("FILE");
    add_how(*command, arguments->how);
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments]() -> int {
            const auto text = config_text(arguments->file);
            if (!text) return complain(invocation, kUsage, text.error().message);
            json body = body_of(arguments->how);
            body["text"] = *text;
            body["file"] = fs::absolute(arguments->file).lexically_normal().string();
            return apply(invocation, "/v1/config/apply", std::move(body), arguments->how);
        };
    });
}

void add_rollback(CLI::App& config, Invocation& invocation) {
    struct Arguments {
        uint64_t number = 0;
        How how;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command = subcommand(config, "rollback", "Put an earlier revision in force, as a new one");
    command->add_option("revision", arguments->number, "its number")->required()->type_name("N");
    add_how(*command, arguments->how);
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            json body = body_of(arguments->how);
            body["to"] = arguments->number;
            return apply(invocation, "/v1/config/rollback", std::move(body), arguments->how);
        };
    });
}

}  // namespace

void add_applying(CLI::App& config, Invocation& invocation) {
    add_apply(config, invocation);
    for (const auto& [word, text, path] :
         {std::tuple{"confirm", "The one on trial stays", "/v1/config/confirm"},
          {"cancel", "The one before the trial is in force again, now", "/v1/config/cancel"}})
        subcommand(config, word, text)->callback([&invocation, at = path] {
            invocation.run = [&invocation, at] {
                return print(invocation, tell(invocation, at), [](const json& reply) {
                    fmt::print("revision {} is in force\n", reply.at("revision").get<uint64_t>());
                });
            };
        });
    add_rollback(config, invocation);
    subcommand(config, "reload", "Have keyraild read its own file again")->callback([&invocation] {
        invocation.run = [&invocation] {
            return print(invocation, tell(invocation, "/v1/reload", {{"yes", invocation.yes}}),
                         [](const json& reply) {
                             show_effects(reply.at("effects"));
                             fmt::print("{}: applied\n", reply.at("config").get<std::string>());
                         });
        };
    });
}

}  // namespace keyrail::cli
