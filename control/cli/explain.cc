// SPDX-License-Identifier: Apache-2.0
// keyrail explain: what would become of a connection, and why.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iterator>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "dataplane/common/address.h"
#include "dataplane/common/hex.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

struct ExplainArguments {
    std::string client, service, to, server_name, session, tls, hello_file, why_not;
    std::vector<std::string> alpn;
    bool early_data = false;
};

std::string blade_text(const json& blade) {
    const std::string name = blade.at("name");
    return fmt::format("blade {}{}", blade.at("id").get<int>(), name.empty() ? "" : " (" + name + ")");
}

void show_explained(const json& explained) {
    fmt::print("{} port {} -> {} port {}\n\n", explained.at("client").get<std::string>(),
               explained.at("client_port").get<int>(), explained.at("address").get<std::string>(),
               explained.at("port").get<int>());
    Table table({"STEP", "WHAT"});
    for (const json& step : explained.at("steps")) table.add({step.at("what"), step.at("text")});
    table.print();
    const json &blade = explained.at("blade"), &from = explained.at("move_from");
    fmt::print("\n{}{}: {}\n", blade.is_null() ? "no blade" : blade_text(blade),
               from.is_null() ? "" : ", with its session from " + blade_text(from),
               explained.at("reason").get<std::string>());
    if (!explained.at("why_not").is_null())
        fmt::print("why not: {}\n", explained.at("why_not").get<std::string>());
}

/// "192.0.2.1", "192.0.2.1:40000", "[2001:db8::1]:40000" as two keys; what is no address goes as it is, and
/// keyraild says so.
void put_address(json& body, const std::string& text, const char* address, const char* port) {
    const auto both = parse_host_port(text);
    body[address] = both ? both->address.text() : text;
    if (both) body[port] = both->port;
}

int run_explain(const Invocation& invocation, const ExplainArguments& arguments) {
    json body = json::object();
    put_address(body, arguments.client, "client", "client_port");
    if (!arguments.to.empty()) put_address(body, arguments.to, "address", "port");
    if (!arguments.service.empty()) body["service"] = arguments.service;
    if (!arguments.server_name.empty()) body["server_name"] = arguments.server_name;
    if (!arguments.session.empty()) body["session"] = arguments.session;
    if (!arguments.tls.empty()) body["tls"] = arguments.tls;
    if (!arguments.alpn.empty()) body["alpn"] = arguments.alpn;
    if (!arguments.why_not.empty()) body["why_not"] = arguments.why_not;
    if (arguments.early_data) body["early_data"] = true;
    if (!arguments.hello_file.empty()) {
        std::ifstream file(arguments.hello_file, std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(file), {}};
        if (bytes.empty())
            return complain(invocation, kUsage,
                            fmt::format("{}: cannot be read, or is empty", arguments.hello_file));
        body["hello"] = to_hex(std::string_view(bytes));
    }
    return print(invocation, tell(invocation, "/v1/explain", body), show_explained);
}

}  // namespace

void add_explain(CLI::App& app, Invocation& invocation) {
    const auto arguments = std::make_shared<ExplainArguments>();
    CLI::App* command = subcommand(
        app, "explain",
        "What would become of a new connection, and why; the packet path itself answers, nothing is sent");
    command->add_option("client", arguments->client, "its address, or address:port (any port)")
        ->required()
        ->type_name("CLIENT");
    auto* service = command->add_option("--service", arguments->service, "where it goes (the first service)")
                        ->type_name("NAME");
    command->add_option("--to", arguments->to, "likewise, as address:port")
        ->type_name("ADDRESS:PORT")
        ->excludes(service);
    command->add_option("--sni", arguments->server_name, "the server name that it asks for")
        ->type_name("NAME");
    command->add_option("--alpn", arguments->alpn, "the protocols that it offers")
        ->delimiter(',')
        ->type_name("NAME,...");
    command
        ->add_option("--session", arguments->session,
                     "name of the session that it would resume, hex digits: PSK identity, or session id with "
                     "--tls 1.2")
        ->type_name("HEX");
    command->add_option("--tls", arguments->tls, "its version: 1.3 (default) or 1.2")
        ->check(CLI::IsMember({"1.2", "1.3"}));
    command->add_flag("--early-data", arguments->early_data, "it has early data");
    command
        ->add_option("--hello", arguments->hello_file,
                     "a file with its first data instead, as it comes by TCP")
        ->type_name("FILE")
        ->excludes("--sni")
        ->excludes("--alpn")
        ->excludes("--session")
        ->excludes("--tls")
        ->excludes("--early-data");
    command->add_option("--why-not", arguments->why_not, "say, too, why this blade does not get it")
        ->type_name("BLADE");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] { return run_explain(invocation, *arguments); };
    });
}

}  // namespace keyrail::cli
