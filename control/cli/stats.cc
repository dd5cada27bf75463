// SPDX-License-Identifier: Apache-2.0
// keyrail stats: the counters that are not zero, each with its meaning. keyraild sends the words.
#include <CLI/CLI.hpp>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

/// The counters of one kind, with keyraild's words. Those that are zero only where all are wanted.
void add_rows(Table& table, const json& stats, std::string_view of, const json& values, bool all) {
    for (const json& counter : stats["counters"]) {
        if (counter["of"] != of) continue;
        const uint64_t count = values.value(counter["name"].get<std::string>(), uint64_t{0});
        if (count == 0 && !all) continue;
        const std::string meaning = counter["meaning"];
        table.add({std::to_string(count), counter["name"],
                   of == "reasons" ? meaning : counter["unit"].get<std::string>() + " " + meaning});
    }
}

void show_counters(const std::string& title, const json& stats, std::string_view of, const json& values,
                   bool all) {
    Table table({"COUNT", title, "MEANING"});
    add_rows(table, stats, of, values, all);
    if (table.empty()) return;
    fmt::print("\n");
    table.print();
}

void show_packets(const json& stats, bool all) {
    const auto number = [&](const char* key) { return stats[key].get<uint64_t>(); };
    fmt::print("packets    rx {} = tx {} + punt {} + held {} + drops {}: {}\n", number("rx"), number("tx"),
               number("punt"), number("held"), number("drops"),
               stats["conserved"].get<bool>() ? "conserved" : "NOT CONSERVED (a fault; please report it)");
    fmt::print("flows      {}, moved-table entries {}, snapshot {}\n", number("flows"),
               number("moved_entries"), number("snapshot_generation"));
    show_counters("REASON", stats, "reasons", stats["reasons"], all);
    json sums = stats["other"];
    for (const char* total : {"rx", "tx", "punt", "held"}) sums[total] = stats[total];
    show_counters("WORKERS", stats, "workers", sums, all);
}

/// Their names.
std::vector<std::string> counters_of(const json& stats, std::string_view of) {
    std::vector<std::string> names;
    for (const json& counter : stats["counters"])
        if (counter["of"] == of) names.push_back(counter["name"]);
    return names;
}

/// A row for each port or blade: its names, a column for each of its counters. `-`: not known.
template <typename Names>
void show_columns(std::vector<std::string> head, const json& stats, const std::string& of,
                  const Names& names_of) {
    const std::vector<std::string> names = counters_of(stats, of);
    head.insert(head.end(), names.begin(), names.end());
    Table table(head);
    for (const json& one : stats[of]) {
        std::vector<std::string> row = names_of(one);
        for (const std::string& name : names) row.push_back(one.contains(name) ? one[name].dump() : "-");
        table.add(row);
    }
    fmt::print("\n");
    table.print();
}

void show_ports(const json& stats) {
    show_columns({"PORT", "LINK"}, stats, "ports", [](const json& port) -> std::vector<std::string> {
        return {port["name"], port["link_up"].get<bool>() ? "up" : "down"};
    });
}

void show_blades(const json& stats) {
    show_columns({"BLADE", "NAME", "NEIGHBOUR"}, stats, "blades",
                 [](const json& blade) -> std::vector<std::string> {
                     const bool known = blade.value("neighbour", false);
                     return {blade["id"].dump(), blade["name"], known ? "known" : "unknown"};
                 });
}

void show_moves(const json& stats, bool all) {
    const json& moves = stats["moves"];
    show_counters("MOVES", stats, "moves", moves, all);
    if (moves["moved"].get<uint64_t>() > 0)
        fmt::print("order to acknowledgement: p50 {} us, p99 {} us\n", moves["p50_us"].get<uint64_t>(),
                   moves["p99_us"].get<uint64_t>());
}

/// Where the time of a move goes, wake-up by wake-up.
void show_stages(const json& stages) {
    Table table({"STAGE OF A MOVE", "P50 us", "P99 us", "FROM -> TO"});
    for (const json& stage : stages)
        if (stage["count"].get<uint64_t>() != 0)
            table.add({stage["name"], stage["p50_us"].dump(), stage["p99_us"].dump(), stage["meaning"]});
    fmt::print("\n");
    table.print();
}

void show_checkpoints(const json& stats, bool all) {
    const json& checkpoints = stats["checkpoints"];
    show_counters("SESSIONS", stats, "checkpoints", checkpoints, all);
    for (const auto& [kind, repository] : checkpoints["repositories"].items()) {
        show_counters("REPOSITORY " + kind, stats, "repositories", repository, all);
        if (!repository["up"].get<bool>()) fmt::print("DOWN: {}\n", repository["problem"].get<std::string>());
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
        "\n{:.3f} s of CPU saved by resumption; a move costs {} us of CPU; {} not worth a move, {} would "
        "have "
        "waited too long, {} holds expired\n",
        economics["handshake_cpu_saved_seconds"].get<double>(), microseconds(economics["move"]["cpu_us"]),
        economics["moves_skipped_not_worth"].get<uint64_t>(),
        economics["moves_skipped_long_wait"].get<uint64_t>(), economics["holds_expired"].get<uint64_t>());
}

/// What clients waited for their sessions, beside what a full handshake would have cost them.
void show_holds(const json& stats) {
    std::vector<std::string> head = {"SERVICE", "TLS",       "HOLDS",      "P50 us",
                                     "P99 us",  "SAVING us", "EXPECTED us"};
    const std::vector<std::string> names = counters_of(stats, "holds");
    head.insert(head.end(), names.begin(), names.end());
    Table table(head);
    for (const json& one : stats["holds"]) {
        if (one["count"].get<uint64_t>() == 0) continue;
        std::vector<std::string> row = {one["service"],
                                        one["tls_version"],
                                        one["count"].dump(),
                                        microseconds(one["p50_us"]),
                                        microseconds(one["p99_us"]),
                                        microseconds(one["saving_p50_us"]),
                                        microseconds(one["expected_us"])};
        for (const std::string& name : names) row.push_back(one[name].dump());
        table.add(row);
    }
    if (table.empty()) return;
    fmt::print("\nholds      what clients waited for their sessions, and what a full handshake adds\n");
    table.print();
}

void show_stats(const json& stats, bool all) {
    if (stats.contains("rx")) {
        show_packets(stats, all);
        show_ports(stats);
    } else {
        fmt::print("packets    unknown: keyrail-dp is not connected; is it running?\n");
    }
    show_blades(stats);
    show_moves(stats, all);
    show_checkpoints(stats, all);
    if (stats.contains("holds")) show_holds(stats);
    if (stats["moves"]["moved"].get<uint64_t>() > 0) show_stages(stats["moves"]["stages"]);
    show_economics(stats["economics"]);
}

}  // namespace

void add_stats(CLI::App& app, Invocation& invocation) {
    CLI::App* command =
        subcommand(app, "stats", "What became of packets and of moves, and what handshakes cost");
    const auto all = std::make_shared<bool>(false);
    command->add_flag("--all", *all, "Show counters that are zero, too");
    command->callback([&invocation, all] {
        invocation.run = [&invocation, all] {
            return print(invocation, ask(invocation.socket, "/v1/stats"),
                         [all](const json& stats) { show_stats(stats, *all); });
        };
    });
}

}  // namespace keyrail::cli
