// SPDX-License-Identifier: Apache-2.0
// keyrail config: what is in force, what was, and what another file would change. config_apply.cc changes it.
#include "control/daemon/config/config.h"

#include <fmt/chrono.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/config_commands.h"
#include "control/cli/table.h"
#include "control/daemon/config/reference.h"
#include "control/protocol/file.h"

namespace keyrail::cli {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxText = size_t{1} << 20;

struct Diff {
    std::string before, after;  // files or numbers of revisions; "": what is in force
    bool effect = false;
};

int check(const Invocation& invocation, const fs::path& file) {
    const auto config = check_config(file);
    const ConfigMistakes mistakes = config ? ConfigMistakes{} : config.error();
    if (invocation.json)
        fmt::print("{}\n", json{{"file", file}, {"ok", !!config}, {"mistakes", mistakes}}.dump(2));
    if (!invocation.json && config) fmt::print("{}: ok\n", file.string());
    if (!invocation.json)
        for (const std::string& mistake : mistakes) fmt::print(stderr, "{}\n", mistake);
    return config ? kDone : kRefused;
}

bool is_number(const std::string& word) {
    return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

/// Puts a side of a comparison into the request; says what is wrong with it.
std::string put_side(json& body, const char* key, const std::string& word) {
    if (word.empty()) return "";
    if (is_number(word) && !fs::exists(word)) {
        body[key] = std::stoull(word.substr(0, 18));
        return "";
    }
    const auto text = config_text(word);
    if (!text) return text.error().message;
    body[key] = *text;
    body["file"] = fs::absolute(word).lexically_normal().string();
    return "";
}

void show_difference(const json& change) {
    const std::string object = change.at("object"), key = change.at("key"), before = change.at("before"),
                      after = change.at("after");
    if (key.empty())
        fmt::print("{} {}  {}\n", before.empty() ? "+" : "-", object, before.empty() ? after : before);
    else if (before.empty() || after.empty())
        fmt::print("~ {}  {} {} = {}\n", object, before.empty() ? "+" : "-", key,
                   before.empty() ? after : before);
    else
        fmt::print("~ {}  {} = {} (was {})\n", object, key, after, before);
}

int diff(const Invocation& invocation, const Diff& arguments) {
    json body = json::object();
    for (const auto& [key, word] : {std::pair{"before", arguments.before}, {"after", arguments.after}})
        if (const std::string wrong = put_side(body, key, word); !wrong.empty())
            return complain(invocation, kUsage, wrong);
    return print(invocation, tell(invocation, "/v1/config/diff", body), [&](const json& reply) {
        if (reply.at("changes").empty()) fmt::print("no difference\n");
        for (const json& change : reply.at("changes")) show_difference(change);
        for (const json& mistake : reply.at("mistakes"))
            fmt::print("mistake: {}\n", mistake.at("message").get<std::string>());
        if (arguments.effect && reply.at("effects").is_array()) show_effects(reply.at("effects"));
    });
}

int check_against_running(const Invocation& invocation, const fs::path& file) {
    if (const int wrong = check(invocation, file)) return wrong;
    json body = json::object();
    if (const std::string wrong = put_side(body, "after", file.string()); !wrong.empty())
        return complain(invocation, kUsage, wrong);
    const Reply reply = tell(invocation, "/v1/config/diff", body);
    const int status = print(invocation, reply, [&](const json& found) {
        for (const json& mistake : found.at("mistakes"))
            fmt::print(stderr, "{}\n", mistake.at("message").get<std::string>());
        if (found.at("effects").is_array()) show_effects(found.at("effects"));
    });
    return status == kDone && !reply->at("mistakes").empty() ? int{kRefused} : status;
}

std::string time_text(const json& unix_ms) {
    const auto seconds = static_cast<std::time_t>(unix_ms.get<uint64_t>() / 1000);
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds));
}

void show_history(const json& reply) {
    Table table({"REVISION", "TIME", "BY", "FROM", "RESULT", "MESSAGE"});
    for (const json& one : reply.at("revisions")) {
        std::string result = one.at("result");
        if (one.at("in_force").get<bool>()) result += ", in force";
        const std::string why = one.at("why"), message = one.at("message");
        table.add({one.at("revision").dump(), time_text(one.at("unix_ms")), one.at("actor"), one.at("from"),
                   result, message + (message.empty() || why.empty() ? "" : "; ") + why});
    }
    table.print();
}

void add_check(CLI::App& config, Invocation& invocation) {
    struct Arguments {
        fs::path file;
        bool running = false;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command = subcommand(config, "check", "Check a file, as keyraild --check does");
    command->add_option("file", arguments->file, "configuration (TOML)")->required()->type_name("FILE");
    command->add_flag("--against-running", arguments->running,
                      "also what it would do to the chassis, and what cannot change while keyraild runs");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return arguments->running ? check_against_running(invocation, arguments->file)
                                      : check(invocation, arguments->file);
        };
    });
}

void add_diff(CLI::App& config, Invocation& invocation) {
    const auto arguments = std::make_shared<Diff>();
    const auto words = std::make_shared<std::vector<std::string>>();
    CLI::App* command = subcommand(config, "diff", "What is different, by object and key");
    command
        ->add_option(
            "what", *words,
            "a file or a revision's number, to compare with what is in force; or two of them, the older one "
            "first")
        ->required()
        ->expected(1, 2)
        ->type_name("FILE|N");
    command->add_flag("--effect", arguments->effect, "what it does to those who are served now");
    command->callback([&invocation, arguments, words] {
        arguments->after = words->back();
        if (words->size() == 2) arguments->before = words->front();
        invocation.run = [&invocation, arguments] { return diff(invocation, *arguments); };
    });
}

int show_reference(const Invocation& invocation) {
    if (invocation.json) {
        json keys = json::array();
        for (const KeyReference& key : config_reference())
            keys.push_back({{"table", key.table},
                            {"key", key.key},
                            {"type", key.type},
                            {"required", key.required},
                            {"default", key.otherwise},
                            {"meaning", key.meaning},
                            {"since", key.since}});
        fmt::print("{}\n", keys.dump(2));
        return kDone;
    }
    Table table({"TABLE", "KEY", "DEFAULT", "TYPE", "SINCE", "MEANING"});
    for (const KeyReference& key : config_reference())
        table.add({key.table, key.key, key.required ? "required" : key.otherwise, key.type, key.since,
                   key.meaning});
    table.print();
    return kDone;
}

void add_show(CLI::App& config, Invocation& invocation) {
    const auto number = std::make_shared<uint64_t>(0);
    CLI::App* command = showing(config, invocation, "show", "A revision's text: the one in force, or N");
    command->add_option("revision", *number, "its number")->type_name("N");
    command->callback([&invocation, number] {
        invocation.run = [&invocation, number] {
            const Reply reply =
                *number == 0 ? ask(invocation, "/v1/config")
                             : ask(invocation, path_of({"v1", "config", "history", std::to_string(*number)}));
            return print(invocation, reply,
                         [](const json& shown) { fmt::print("{}", shown.at("text").get<std::string>()); });
        };
    });
}

}  // namespace

Result<std::string> config_text(const fs::path& file) {
    auto text = read_file(file, kMaxText);
    if (!text) return fail("{}; check that the file is there and that you may read it", text.error().message);
    return text;
}

void show_effects(const json& effects) {
    for (const json& effect : effects)
        fmt::print("{} {}\n", effect.at("harm").get<bool>() ? "!" : "*",
                   effect.at("text").get<std::string>());
}

void add_config(CLI::App& app, Invocation& invocation) {
    CLI::App* config = subcommand(app, "config", "keyraild's configuration");
    config->require_subcommand(1);
    add_check(*config, invocation);
    add_diff(*config, invocation);
    add_applying(*config, invocation);
    add_show(*config, invocation);
    subcommand(*config, "example", "A commented configuration to begin with")->callback([&] {
        invocation.run = [] {
            fmt::print("{}", kExampleConfig);
            return int{kDone};
        };
    });
    subcommand(*config, "reference", "Every key: type, default, meaning")->callback([&] {
        invocation.run = [&] { return show_reference(invocation); };
    });
    showing(*config, invocation, "history", "Who applied what, when, and what became of it")->callback([&] {
        invocation.run = [&] {
            return print(invocation, ask(invocation, "/v1/config/history"), show_history);
        };
    });
}

}  // namespace keyrail::cli
