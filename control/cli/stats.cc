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
    for (const json& counter : stats.at("counters")) {
        if (counter.at("of") != of) continue;
        const uint64_t count = values.value(counter.at("name").get<std::string>(), uint64_t{0});
        if (count == 0 && !all) continue;
        const std::string meaning = counter.at("meaning");
        table.add({std::to_string(count), counter.at("name"),
                   of == "reasons" ? meaning : counter.at("unit").get<std::string>() + " " + meaning});
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
    const auto number = [&](const char* key) { return stats.at(key).get<uint64_t>(); };
    fmt::print("packets    rx {} = tx {} + punt {} + held {} + drops {}: {}\n", number("rx"), number("tx"),
               number("punt"), number("held"), number("drops"),
               stats.at("conserved").get<bool>() ? "conserved" : "NOT CONSERVED (a fault; please report it)");
    fmt::print("flows      {}, moved-table entries {}, snapshot {}\n", number("flows"),
               number("moved_entries"), number("snapshot_generation"));
    show_counters("REASON", stats, "reasons", stats.at("reasons"), all);
    json sums = stats.at("other");
    for (const char* total : {"rx", "tx", "punt", "held"}) sums[total] = stats.at(total);
    show_counters("WORKERS", stats, "workers", sums, all);
}

/// Their names.
std::vector<std::string> counters_of(const json& stats, std::string_view of) {
    std::vector<std::string> names;
    for (const json& counter : stats.at("counters"))
        if (counter.at("of") == of) names.push_back(counter.at("name"));
    return names;
}

/// A row for each port or blade: its names, a column for each of its counters. `-`: not known.
template <typename Names>
void show_columns(std::vector<std::string> head, const json& stats, const std::string& of,
                  const Names& names_of) {
    const std::vector<std::string> names = counters_of(stats, of);
    head.insert(head.end(), names.begin(), names.end());
    Table table(head);
    for (const json& one : stats.at(of)) {
        std::vector<std::string> row = names_of(one);
        for (const std::string& name : names) row.push_back(one.contains(name) ? one.at(name).dump() : "-");
        table.add(row);
    }
    fmt::print("\n");
    table.print();
}

void show_ports(const json& stats) {
    show_columns({"PORT", "LINK"}, stats, "ports", [](const json& port) -> std::vector<std::string> {
        return {port.at("name"), port.at("link_up").get<bool>() ? "up" : "down"};
    });
}

void show_blades(const json& stats) {
    show_columns({"BLADE", "NAME", "NEIGHBOUR"}, stats, "blades",
                 [](const json& blade) -> std::vector<std::string> {
                     const bool known = blade.value("neighbour", false);
                     return {blade.at("id").dump(), blade.at("name"), known ? "known" : "unknown"};
                 });
}

void show_moves(const json& stats, bool all) {
    const json& moves = stats.at("moves");
    show_counters("MOVES", stats, "moves", moves, all);
    if (moves.at("moved").get<uint64_t>() > 0)
        fmt::print("order to acknowledgement: p50 {} us, p99 {} us\n", moves.at("p50_us").get<uint64_t>(),
                   moves.at("p99_us").get<uint64_t>());
}

/// Where the time of a move goes, wake-up by wake-up.
void show_stages(const json& stages) {
    Table table({"STAGE OF A MOVE", "P50 us", "P99 us", "FROM -> TO"});
    for (const json& stage : stages)
        if (stage.at("count").get<uint64_t>() != 0)
            table.add({stage.at("name"), stage.at("p50_us").dump(), stage.at("p99_us").dump(),
                       stage.at("meaning")});
    fmt::print("\n");
    table.print();
}

void show_checkpoints(const json& stats, bool all) {
    const json& checkpoints = stats.at("checkpoints");
    show_counters("SESSIONS", stats, "checkpoints", checkpoints, all);
    for (const auto& [kind, repository] : checkpoints.at("repositories").items()) {
        show_counters("REPOSITORY " + kind, stats, "repositories", repository, all);
        if (!repository.at("up").get<bool>())
            fmt::print("DOWN: {}\n", repository.at("problem").get<std::string>());
    }
}

std::string microseconds(const json& value) {
    return value.is_null() ? "-" : fmt::format("{:.0f}", value.get<double>());
}

/// For a move, and whose word that is.
std::string longest_wait(const json& costs) {
    const uint64_t budget = costs.at("hold_budget_us");
    const std::string from = costs.at("hold_budget_from");
    const std::string text = budget == 0 ? "no move" : std::to_string(budget);
    return from == "costs" ? text : fmt::format("{} ({})", text, from);
}

void show_economics(const json& economics) {
    fmt::print("\n");
    Table table({"SERVICE", "TLS", "FULL", "FULL CPU us", "RESUMED", "RESUMED CPU us", "LONGEST WAIT us"});
    for (const json& costs : economics.at("handshakes")) {
        const json &full = costs.at("full"), &resumed = costs.at("resumed");
        table.add({costs.at("service"), costs.at("tls_version"), full.at("count").dump(),
                   microseconds(full.at("cpu_us")), resumed.at("count").dump(),
                   microseconds(resumed.at("cpu_us")), longest_wait(costs)});
    }
    table.print();
    fmt::print(
        "\n{:.3f} s of CPU saved by resumption; a move costs {} us of CPU; {} not worth a move, {} would "
        "have "
        "waited too long, {} holds expired\n",
        economics.at("handshake_cpu_saved_seconds").get<double>(),
        microseconds(economics.at("move").at("cpu_us")),
        economics.at("moves_skipped_not_worth").get<uint64_t>(),
        economics.at("moves_skipped_long_wait").get<uint64_t>(),
        economics.at("holds_expired").get<uint64_t>());
}

/// What clients waited for their sessions, beside what a full handshake would have cost them.
void show_holds(const json& stats) {
    std::vector<std::string> head = {"SERVICE", "TLS",       "HOLDS",      "P50 us",
                                     "P99 us",  "SAVING us", "EXPECTED us"};
    const std::vector<std::string> names = counters_of(stats, "holds");
    head.insert(head.end(), names.begin(), names.end());
    Table table(head);
    for (const json& one : stats.at("holds")) {
        if (one.at("count").get<uint64_t>() == 0) continue;
        std::vector<std::string> row = {one.at("service"),
                                        one.at("tls_version"),
                                        one.at("count").dump(),
                                        microseconds(one.at("p50_us")),
                                        microseconds(one.at("p99_us")),
                                        microseconds(one.at("saving_p50_us")),
                                        microseconds(one.at("expected_us"))};
        for (const std::string& name : names) row.push_back(one.at(name).dump());
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
    if (stats.at("moves").at("moved").get<uint64_t>() > 0) show_stages(stats.at("moves").at("stages"));
    show_economics(stats.at("economics"));
}

}  // namespace

void add_stats(CLI::App& app, Invocation& invocation) {
    CLI::App* command =
        showing(app, invocation, "stats", "What became of packets and of moves, and what handshakes cost");
    const auto all = std::make_shared<bool>(false);
    command->add_flag("--all", *all, "Show counters that are zero, too");
    command->callback([&invocation, all] {
        invocation.run = [&invocation, all] {
            return print(invocation, ask(invocation, "/v1/stats"),
                         [all](const json& stats) { show_stats(stats, *all); });
        };
    });
}

}  // namespace keyrail::cli
