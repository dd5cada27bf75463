// SPDX-License-Identifier: Apache-2.0
// keyrail stats: the counters that are not zero, each with what it means.
#include <CLI/CLI.hpp>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

void show_packets(const json& stats) {
    const auto number = [&](const char* key) { return stats[key].get<uint64_t>(); };
    fmt::print("packets    rx {} = tx {} + punt {} + held {} + drops {}: {}\n", number("rx"), number("tx"),
               number("punt"), number("held"), number("drops"),
               stats["conserved"].get<bool>() ? "conserved" : "NOT CONSERVED (a fault; please report it)");
    fmt::print("flows      {}, moved-table entries {}, snapshot {}\n\n", number("flows"),
               number("moved_entries"), number("snapshot_generation"));
    Table reasons({"COUNT", "REASON", "MEANING"});
    for (const json& counter : stats["counters"]) {
        const uint64_t count = stats["reasons"].value(counter["name"].get<std::string>(), uint64_t{0});
        if (count != 0) reasons.add({std::to_string(count), counter["name"], counter["meaning"]});
    }
    reasons.print();
}

void show_ports(const json& stats) {
    fmt::print("\n");
    Table ports({"PORT", "LINK", "RX", "TX", "MISSED", "RX ERRORS", "TX ERRORS"});
    for (const json& port : stats["ports"])
        ports.add({port["name"], port["link_up"].get<bool>() ? "up" : "down", port["rx_packets"].dump(),
                   port["tx_packets"].dump(), port["rx_missed"].dump(), port["rx_errors"].dump(),
                   port["tx_errors"].dump()});
    ports.print();
    fmt::print("\n");
    Table blades({"BLADE", "NAME", "FLOWS", "NEIGHBOUR"});
    for (const json& blade : stats["blades"])
        blades.add({blade["id"].dump(), blade["name"], blade["flows"].dump(),
                    blade["neighbour"].get<bool>() ? "known" : "unknown"});
    blades.print();
}

void show_moves(const json& moves) {
    const auto number = [&](const char* key) { return moves[key].get<uint64_t>(); };
    fmt::print(
        "\nmoves      ordered {}, moved {}, not found {}, refused {}, lost {}, unreachable {}, late {}\n",
        number("ordered"), number("moved"), number("not_found"), number("refused"), number("lost"),
        number("unreachable"), number("late"));
    if (number("refused_not_authorised") > 0)
        fmt::print(
            "           {} refused to blades that do not serve the session's service (see keyraild's log)\n",
            number("refused_not_authorised"));
    if (number("transfers_refused") > 0)
        fmt::print("           {} sessions that a blade sent unasked, refused (see keyraild's log)\n",
                   number("transfers_refused"));
    if (number("announced_in_vain") > 0)
        fmt::print("           {} sessions that blades claimed and no order brought there\n",
                   number("announced_in_vain"));
    if (number("moved") > 0)
        fmt::print("           order to acknowledgement: p50 {} us, p99 {} us\n", number("p50_us"),
                   number("p99_us"));
}

void show_checkpoints(const json& checkpoints) {
    const auto number = [](const json& from, const char* key) { return from[key].get<uint64_t>(); };
    fmt::print("sessions   {} known, {} reports, {} copies destroyed\n", number(checkpoints, "sessions"),
               number(checkpoints, "reported"), number(checkpoints, "stale"));
    for (const auto& [kind, repository] : checkpoints["repositories"].items()) {
        fmt::print("repository {}: {} stored, {} removed, {} taken, {} missed, {} waiting, {} lost\n", kind,
                   number(repository, "stored"), number(repository, "removed"), number(repository, "taken"),
                   number(repository, "missed"), number(repository, "waiting"), number(repository, "lost"));
        if (!repository["up"].get<bool>())
            fmt::print("           DOWN: {}\n", repository["problem"].get<std::string>());
    }
}

std::string microseconds(const json& value) {
    return value.is_null() ? "-" : fmt::format("{:.0f}", value.get<double>());
}

void show_economics(const json& economics) {
    fmt::print("\n");
    Table table({"SERVICE", "TLS", "FULL", "CPU us", "RESUMED", "CPU us", "WORTH A WAIT OF"});
    for (const json& costs : economics["handshakes"]) {
        const json &full = costs["full"], &resumed = costs["resumed"];
        const uint64_t budget = costs["auto_hold_budget_us"];
        table.add({costs["service"], costs["tls_version"], full["count"].dump(), microseconds(full["cpu_us"]),
                   resumed["count"].dump(), microseconds(resumed["cpu_us"]),
                   full["cpu_us"].is_null() || resumed["cpu_us"].is_null()
                       ? fmt::format("{} us (default)", budget)
                   : budget == 0 ? "no move"
                                 : fmt::format("{} us", budget)});
    }
    table.print();
    fmt::print(
        "\n{:.3f} s of CPU saved by resumption; a move costs {} us of CPU; {} not worth a move, {} holds "
        "expired\n",
        economics["handshake_cpu_saved_seconds"].get<double>(), microseconds(economics["move"]["cpu_us"]),
        economics["moves_skipped_not_worth"].get<uint64_t>(), economics["holds_expired"].get<uint64_t>());
}

void show_stats(const json& stats) {
    if (stats.contains("rx")) {
        show_packets(stats);
        show_ports(stats);
    } else {
        fmt::print("packets    unknown: keyrail-dp is not connected; is it running?\n");
    }
    show_moves(stats["moves"]);
    show_checkpoints(stats["checkpoints"]);
    show_economics(stats["economics"]);
}

}  // namespace

void add_stats(CLI::App& app, Invocation& invocation) {
    subcommand(app, "stats", "What became of packets and of moves, and what handshakes cost")->callback([&] {
        invocation.run = [&] { return print(invocation, ask(invocation.socket, "/v1/stats"), show_stats); };
    });
}

}  // namespace keyrail::cli
