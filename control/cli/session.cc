// SPDX-License-Identifier: Apache-2.0
// keyrail session: which blade has one, and away with it.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string times(uint32_t count) {
    return count == 0 ? "never" : count == 1 ? "once" : fmt::format("{} times", count);
}

void show(const json& session) {
    fmt::print("home     blade {}\n", session.at("home").get<int>());
    const int holder = session.at("holder");
    if (session.at("held").is_null())
        fmt::print("holder   blade {}, unconfirmed: {}\n", holder, session.value("problem", ""));
    else if (!session.at("held").get<bool>())
        fmt::print("holder   nobody (blade {} was asked): used, expired or lost\n", holder);
    else
        fmt::print("holder   blade {}, confirmed\nTLS      {}, {}\nexpires  {}\n", holder,
                   session.at("tls_version").get<std::string>(),
                   session.at("single_use").get<bool>() ? "single use" : "reusable",
                   session.at("expires").get<std::string>());
    if (!session.at("uses").is_null())
        fmt::print("resumed  {}, as far as is known\n", times(session.at("uses").get<uint32_t>()));
    if (session.at("moves_under_way").get<bool>()) fmt::print("move     under way\n");
}

/// Not done while an agent has not answered: the session may be there.
int show_purge(const Invocation& invocation, const Reply& reply, const std::string& service) {
    const int status = print(invocation, reply, [&](const json& purge) {
        if (const auto removed = purge.find("removed"); removed != purge.end() && removed->is_string())
            fmt::print("service '{}' was removed ({}); what it left behind is purged\n", service,
                       removed->get<std::string>());
        fmt::print("{} sessions destroyed\n", purge.at("purged").get<uint64_t>());
        for (const json& failed : purge.at("failed"))
            if (failed.at("blade").is_null())
                fmt::print(stderr, "keyrail: {}; it will be as soon as it is up\n",
                           failed.at("problem").get<std::string>());
            else
                fmt::print(stderr, "keyrail: blade {}: {}; keyraild has it purged as soon as it is back\n",
                           failed.at("blade").get<int>(), failed.at("problem").get<std::string>());
    });
    return status == kDone && !reply->at("failed").empty() ? int{kPartly} : status;
}

void add_purge(CLI::App& session, Invocation& invocation) {
    struct Arguments {
        std::string name, service;
        bool all = false;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* purge = subcommand(session, "purge", "Destroy a session, or many, on every blade");
    auto* what = purge->add_option_group("what");
    what->add_option("name", arguments->name, "session name, 64 hex digits");
    what->add_option("--service", arguments->service, "all sessions of this service");
    what->add_flag("--all", arguments->all, "all sessions: every client makes a full handshake next");
    what->require_option(1);
    purge->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments]() -> int {
            if (arguments->all)
                if (const int no = confirmed(invocation, "every session of every service is destroyed"))
                    return no;
            json body = json::object();
            if (arguments->all) body["all"] = true;
            if (!arguments->name.empty()) body["name"] = arguments->name;
            if (!arguments->service.empty()) body["service"] = arguments->service;
            return show_purge(invocation, tell(invocation, "/v1/sessions/purge", body), arguments->service);
        };
    });
}

}  // namespace

void add_session(CLI::App& app, Invocation& invocation) {
    const auto name = std::make_shared<std::string>();
    CLI::App* session = subcommand(app, "session", "TLS sessions");
    session->require_subcommand(1);
    CLI::App* where = showing(*session, invocation, "where", "Home and holder of a session");
    where->add_option("name", *name, "session id (TLS 1.2) or PSK identity (TLS 1.3), 64 hex digits")
        ->required();
    where->callback([&invocation, name] {
        invocation.run = [&invocation, name] {
            return print(invocation, ask(invocation, path_of({"v1", "session", *name})), show);
        };
    });
    add_purge(*session, invocation);
}

}  // namespace keyrail::cli
