// SPDX-License-Identifier: Apache-2.0
// keyrail service, pool, flow and move: what there is, and how it is.
#include <CLI/CLI.hpp>
#include <ctime>
#include <memory>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "dataplane/common/address.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

std::string addresses_text(const json& texts) {
    std::string line;
    for (const json& text : texts) line += (line.empty() ? "" : " ") + text.get<std::string>();
    return line;
}

std::string binding_text(const json& service) {
    return service.at("binding").is_null() ? "-" : service.at("binding").at("now").get<std::string>();
}

/// "blade1 (up), blade2 (draining)"
std::string states_text(const json& blades) {
    std::string line;
    for (const json& blade : blades)
        line += fmt::format("{}{} {} ({})", line.empty() ? "" : ", ", blade.at("id").get<int>(),
                            blade.at("name").get<std::string>(), blade.at("state").get<std::string>());
    return line.empty() ? "none" : line;
}

void show_services(const json& services) {
    Table table({"SERVICE", "ADDRESSES", "PORT", "POOL", "STEERING", "BINDING", "BLADES UP", "ROUTES"});
    for (const json& service : services)
        table.add({service.at("name"), addresses_text(service.at("addresses")), service.at("port").dump(),
                   service.at("pool"), service.at("steering"), binding_text(service),
                   fmt::format("{} of {}", service.at("blades_up").get<int>(), service.at("blades").size()),
                   std::to_string(service.at("routes").size())});
    table.print();
}

std::string number_text(const json& value) {
    return value.is_null()           ? "-"
           : value.is_number_float() ? fmt::format("{:.0f}", value.get<double>())
                                     : value.dump();
}

void show_service(const json& service) {
    show_services(json::array({service}));
    fmt::print("\nblades     {}\n", states_text(service.at("members")));
    if (!service.at("binding").is_null())
        fmt::print("binding    {}\n", service.at("binding").at("why").get<std::string>());
    fmt::print("sessions   for {} s; {} early data; hold budget {}\n",
               service.at("session_lifetime_s").get<int64_t>(),
               service.at("early_data").get<bool>() ? "with" : "no",
               service.at("hold_budget_us").is_null() ? "as it is worth it"
                                                      : service.at("hold_budget_us").dump() + " us");
    Table routes({"SNI", "ALPN", "POOL", "BLADES UP"});
    for (const json& route : service.at("routes"))
        routes.add({route.at("sni"), route.at("alpn") == "" ? "any" : route.at("alpn").get<std::string>(),
                    route.at("pool"),
                    fmt::format("{} of {}", route.at("blades_up").get<int>(), route.at("blades").size())});
    if (!routes.empty()) fmt::print("\n"), routes.print();
    Table costs({"TLS", "FULL", "CPU us", "RESUMED", "CPU us"});
    for (const json& one : service.at("handshakes"))
        costs.add({one.at("tls_version"), one.at("full").at("count").dump(),
                   number_text(one.at("full").at("cpu_us")), one.at("resumed").at("count").dump(),
                   number_text(one.at("resumed").at("cpu_us"))});
    if (!costs.empty()) fmt::print("\n"), costs.print();
    Table holds({"TLS", "HOLDS", "P50 us", "P99 us", "SAVING us"});
    for (const json& one : service.at("holds"))
        holds.add({one.at("tls_version"), one.at("count").dump(), number_text(one.at("p50_us")),
                   number_text(one.at("p99_us")), number_text(one.at("saving_p50_us"))});
    if (!holds.empty()) fmt::print("\n"), holds.print();
}

void show_pools(const json& pools) {
    Table table({"POOL", "BLADES", "SERVICES"});
    for (const json& pool : pools) {
        std::string users;
        for (const json& user : pool.at("services")) {
            users += (users.empty() ? "" : ", ") + user.at("service").get<std::string>();
            if (!user.at("sni").is_null()) users += " (" + user.at("sni").get<std::string>() + ")";
        }
        table.add({pool.at("name"), states_text(pool.at("blades")), users.empty() ? "none" : users});
    }
    table.print();
}

std::string ended_text(uint64_t unix_ms) {
    const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
    std::tm parts{};
    localtime_r(&seconds, &parts);
    return fmt::format("{:02}:{:02}:{:02}.{:03}", parts.tm_hour, parts.tm_min, parts.tm_sec, unix_ms % 1000);
}

void show_move_list(const json& moves) {
    Table table({"ORDER", "WHEN", "SERVICE", "FROM", "TO", "OUT OF", "RESULT", "TOOK us", "SESSION"});
    const auto add = [&](const json& move, const std::string& when, const std::string& result,
                         const json& took) {
        table.add({move.at("order").dump(), when,
                   move.at("service") == "" ? "-" : move.at("service").get<std::string>(),
                   move.at("from").dump(), move.at("to").dump(), move.at("source"), result, took.dump(),
                   move.at("session").get<std::string>().substr(0, 16)});
    };
    for (const json& move : moves.at("latest"))
        add(move, ended_text(move.at("ended_ms")), move.at("result"), move.at("took_us"));
    for (const json& move : moves.at("under_way")) add(move, "now", "under way", move.at("for_us"));
    if (table.empty())
        fmt::print("no session has moved since keyraild began\n");
    else
        table.print();
}

void show_flows(const json& found) {
    Table table({"CLIENT PORT", "TO", "PORT", "BLADE", "NAME", "STATE", "IDLE s", "WORKER"});
    for (const json& flow : found.at("flows"))
        table.add({flow.at("client_port").dump(), flow.at("address"), flow.at("port").dump(),
                   flow.at("blade").at("id").dump(), flow.at("blade").at("name"), flow.at("state"),
                   flow.at("idle_s").dump(), flow.at("worker").dump()});
    if (table.empty())
        fmt::print("{} has no flows\n", found.at("client").get<std::string>());
    else
        table.print();
    if (found.at("more").get<bool>()) fmt::print("and more; name a port, or a service\n");
}

void add_flow_find(CLI::App& flow, Invocation& invocation) {
    struct FlowArguments {
        std::string client, service;
    };
    const auto arguments = std::make_shared<FlowArguments>();
    CLI::App* command =
        showing(flow, invocation, "find", "The flows of a client, by the dispatcher's own table");
    command->add_option("client", arguments->client, "its address, or address:port")
        ->required()
        ->type_name("CLIENT");
    command->add_option("--service", arguments->service, "to this service only")->type_name("NAME");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            const auto both = parse_host_port(arguments->client);
            json body = {{"client", both ? both->address.text() : arguments->client}};
            if (both) body["client_port"] = both->port;
            if (!arguments->service.empty()) body["service"] = arguments->service;
            return print(invocation, tell(invocation, "/v1/flows/find", body), show_flows);
        };
    });
}

void show_blade(const json& blade) {
    const json& agent = blade.at("agent");
    fmt::print("blade      {} {}, {}: {}{}\n", blade.at("id").get<int>(), blade.at("name").get<std::string>(),
               blade.at("address").get<std::string>(), blade.at("state").get<std::string>(),
               blade.at("why_down") == "" ? "" : ", " + blade.at("why_down").get<std::string>());
    fmt::print("agent      {} at {}, version {}, kernel {}\n",
               agent.at("connected").get<bool>() ? "connected" : "away",
               agent.at("address").get<std::string>(),
               agent.at("version") == "" ? "unknown" : agent.at("version").get<std::string>(),
               agent.at("kernel") == "" ? "unknown" : agent.at("kernel").get<std::string>());
    fmt::print("load       {:.0f}% of {}%\nsessions   {}, {} bytes; {} handshakes resumed, {} full\n",
               blade.at("load").get<double>(), blade.at("load_limit").get<int>(), blade.at("sessions").dump(),
               blade.at("store_bytes").dump(), blade.at("resumed").dump(), blade.at("full").dump());
    if (const json& drain = blade.at("drain"); !drain.is_null())
        fmt::print("drain      {} moved, {} left, {} failed\n", drain.at("moved").dump(),
                   drain.at("left").dump(), drain.at("failed").dump());
    for (const json& fault : blade.at("faults")) fmt::print("fault      {}\n", fault.get<std::string>());
    for (const json& problem : agent.at("problems"))
        fmt::print("problem    {}\n", problem.get<std::string>());
    Table servers({"PORT", "ADDRESS", "LISTENS", "ADDRESS HERE", "HANGS", "WITHOUT HOOKS"});
    const auto yes = [](const json& value) { return value.get<bool>() ? "yes" : "no"; };
    for (const json& server : blade.at("servers"))
        for (const json& at : server.at("addresses"))
            servers.add({server.at("port").dump(), at.at("address"), yes(at.at("listening")),
                         yes(at.at("address_here")),
                         at.at("hangs").is_boolean() ? yes(at.at("hangs")) : at.at("hangs").dump(),
                         at.at("without_hooks").is_boolean() ? yes(at.at("without_hooks"))
                                                             : at.at("without_hooks").dump()});
    if (!servers.empty()) fmt::print("\n"), servers.print();
}

void add_blade_show(CLI::App& blade, Invocation& invocation) {
    const auto word = std::make_shared<std::string>();
    CLI::App* command =
        showing(blade, invocation, "show", "A blade: its agent, servers, sessions and faults");
    add_blade_argument(*command, *word);
    command->callback([&invocation, word] {
        invocation.run = [&invocation, word]() -> int {
            const Reply blades = ask(invocation, "/v1/blades");
            if (!blades) return complain(invocation, blades.error());
            for (const json& one : *blades)
                if (one.at("id").dump() == *word || one.at("name") == *word)
                    return print(invocation, one, show_blade);
            return complain(invocation, kNotFound,
                            fmt::format("there is no blade '{}'; see 'keyrail blade list'", *word));
        };
    });
}

using Show = void (*)(const json&);

void add_list(CLI::App& noun, Invocation& invocation, const char* text, const char* path, Show shown) {
    showing(noun, invocation, "list", text)->callback([&invocation, path, shown] {
        invocation.run = [&invocation, path, shown] {
            return print(invocation, ask(invocation, path), shown);
        };
    });
}

void add_show_one(CLI::App& noun, Invocation& invocation, const char* text, const char* of, Show shown) {
    const auto name = std::make_shared<std::string>();
    CLI::App* command = showing(noun, invocation, "show", text);
    command->add_option("name", *name, "its name")->required()->type_name("NAME");
    command->callback([&invocation, name, of, shown] {
        invocation.run = [&invocation, name, of, shown] {
            return print(invocation, ask(invocation, path_of({"v1", of, *name})), shown);
        };
    });
}

CLI::App* add_noun(CLI::App& app, const char* name, const char* text) {
    CLI::App* noun = subcommand(app, name, text);
    noun->require_subcommand(1);
    return noun;
}

}  // namespace

void add_look(CLI::App& app, Invocation& invocation) {
    add_blade_show(*app.get_subcommand("blade"), invocation);
    CLI::App* service = add_noun(app, "service", "The services");
    add_list(*service, invocation, "All services, where they are and who serves them", "/v1/services",
             show_services);
    add_show_one(*service, invocation, "A service: its blades, routes, handshakes and holds", "services",
                 show_service);
    CLI::App* pool = add_noun(app, "pool", "Pools: the blades that have some content");
    add_list(*pool, invocation, "All pools, their blades and who uses them", "/v1/pools", show_pools);
    add_show_one(*pool, invocation, "A pool", "pools",
                 [](const json& one) { show_pools(json::array({one})); });
    CLI::App* flow = add_noun(app, "flow", "Connections that blades have");
    add_flow_find(*flow, invocation);
    CLI::App* move = add_noun(app, "move", "Sessions on their way from blade to blade");
    add_list(*move, invocation, "Moves under way, and the latest that ended", "/v1/moves", show_move_list);
}

}  // namespace keyrail::cli
