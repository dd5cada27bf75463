// SPDX-License-Identifier: Apache-2.0
// keyrail session where: which blade has a session.
#include <CLI/CLI.hpp>
#include <memory>

#include "control/cli/api_client.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show(const json& session) {
    fmt::print("home     blade {}\n", session["home"].get<int>());
    const int holder = session["holder"];
    if (session["held"].is_null())
        fmt::print("holder   blade {}, unconfirmed: {}\n", holder, session.value("problem", ""));
    else if (!session["held"].get<bool>())
        fmt::print("holder   nobody (blade {} was asked): used, expired or lost\n", holder);
    else
        fmt::print("holder   blade {}, confirmed\nTLS      {}, {}\nexpires  {}\n", holder,
                   session["tls_version"].get<std::string>(),
                   session["single_use"].get<bool>() ? "single use" : "reusable",
                   session["expires"].get<std::string>());
}

}  // namespace

void add_session(CLI::App& app, Invocation& invocation) {
    const auto name = std::make_shared<std::string>();
    CLI::App* session = subcommand(app, "session", "TLS sessions");
    session->require_subcommand(1);
    CLI::App* where = subcommand(*session, "where", "Home and holder of a session");
    where->add_option("name", *name, "session id (TLS 1.2) or PSK identity (TLS 1.3), 64 hex digits")
        ->required();
    where->callback([&invocation, name] {
        invocation.run = [&invocation, name] {
            return print(invocation, ask(invocation.socket, "/v1/session/" + *name), show);
        };
    });
}

}  // namespace keyrail::cli
