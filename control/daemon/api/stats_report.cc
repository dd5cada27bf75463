// SPDX-License-Identifier: Apache-2.0
// stats_report: link.Stats to JSON.
#include "control/daemon/api/stats_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/daemon/api/counters.h"
#include "dataplane/common/verdict.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;

namespace {

constexpr std::array<std::string_view, 4> kTotals = {"rx", "tx", "punt", "held"};

bool is_reason(std::string_view name) {
    return std::ranges::find(kReasonTexts, name, &ReasonText::name) != kReasonTexts.end();
}

/// A counter and what it means; `of` says where its value is.
json text_report(std::string_view of, const CounterText& counter) {
    return {{"of", of},
            {"name", counter.name},
            {"kind", counter.kind == CounterKind::gauge ? "gauge" : "total"},
            {"unit", counter.unit},
            {"meaning", counter.meaning}};
}

template <typename Counters>
void add_texts(json& texts, std::string_view of, const Counters& counters) {
    for (const auto& counter : counters) texts.push_back(text_report(of, counter.text));
}

template <typename Counters, typename Stats>
json values(const Counters& counters, const Stats& stats) {
    json report = json::object();
    for (const auto& counter : counters) report[std::string(counter.text.name)] = stats.*counter.value;
    return report;
}

uint64_t drops_of(const std::map<std::string, uint64_t>& counters) {
    uint64_t drops = 0;
    for (const auto& [name, value] : counters)
        if (name.starts_with("drop_")) drops += value;
    return drops;
}

uint64_t value_of(const std::map<std::string, uint64_t>& counters, std::string_view name) {
    const auto found = counters.find(std::string(name));
    return found == counters.end() ? 0 : found->second;
}

json port_report(const link::PortStats& port) {
    json report = {{"name", port.name()}, {"link_up", port.link_up()}};
    for (const auto& counter : port.counters()) report[counter.name()] = counter.value();
    return report;
}

Histogram histogram_of(const link::Durations& durations) {
    Histogram histogram;
    for (int i = 0; i < std::min(durations.bucket_size(), durations.count_size()); i++)
        histogram.add_to(durations.bucket(i), durations.count(i));
    return histogram;
}

/// Prometheus': how many took at most so many microseconds, in powers of two.
json cumulative(const Histogram& histogram) {
    constexpr uint64_t kFirst = 32, kLast = uint64_t{1} << 20;
    json steps = json::array();
    uint64_t seen = 0;
    size_t bucket = 0;
    for (uint64_t bound = kFirst; bound <= kLast; bound *= 2) {
        for (; DurationBuckets::highest(bucket) < bound; bucket++) seen += histogram.in(bucket);
        steps.push_back({{"le_us", bound}, {"count", seen}});
    }
    return steps;
}

/// All that is known: {longest of the bucket, in us: how many}.
json fine(const Histogram& histogram) {
    json counts = json::object();
    for (size_t i = 0; i < DurationBuckets::kCount; i++)
        if (histogram.in(i) != 0) counts[std::to_string(DurationBuckets::highest(i))] = histogram.in(i);
    return counts;
}

json hold_report(const link::HoldWaits& holds) {
    const Histogram waited = histogram_of(holds.waited()), saving = histogram_of(holds.saving());
    const auto known = [](uint64_t value) { return value == 0 ? json() : json(value); };
    return {{"service", holds.service()},
            {"tls_version", holds.tls_version() == 0x0304 ? "1.3" : "1.2"},
            {"count", waited.count()},
            {"sum_us", holds.waited().sum_us()},
            {"p50_us", known(static_cast<uint64_t>(waited.quantile(0.50).count()))},
            {"p90_us", known(static_cast<uint64_t>(waited.quantile(0.90).count()))},
            {"p99_us", known(static_cast<uint64_t>(waited.quantile(0.99).count()))},
            {"weighed", saving.count()},
            {"saving_p50_us", known(static_cast<uint64_t>(saving.quantile(0.50).count()))},
            {kHoldsLonger.name, holds.longer()},
            {"expected_us", known(holds.expected_us())},
            {"buckets", cumulative(waited)},
            {"waited", fine(waited)},
            {"saving", fine(saving)}};
}

json stage_report(std::string_view name, std::string_view meaning, const Histogram& took) {
    return {{"name", name},
            {"meaning", meaning},
            {"count", took.count()},
            {"p50_us", took.quantile(0.50).count()},
            {"p99_us", took.quantile(0.99).count()}};
}

/// Of those inside keyrail-dp (dataplane/link/hold_report.cc).
std::string_view meaning_of_stage(std::string_view name) {
    if (name == "ask") return "a worker asks for the move -> the control thread has sent the request";
    if (name == "answer") return "keyraild has sent the answer -> the control thread has read it";
    if (name == "release") return "the control thread has the answer -> the worker releases the hold";
    return "";
}

/// Of those that keyrail-dp has room for.
std::string_view meaning_of_capacity(std::string_view name) {
    if (name == "flows") return "entries of the flow tables";
    if (name == "holds") return "ClientHellos held";
    if (name == "moved_entries") return "entries of the moved table: sessions away from their home";
    if (name == "mbufs") return "packet buffers";
    return "";
}

json cost_report(const MeanCost& cost, uint64_t count) {
    return {{"count", count},
            {"cpu_us", cost.known() ? json(cost.cpu_ns() / 1000) : json()},
            {"wall_us", cost.known() ? json(cost.wall_ns() / 1000) : json()}};
}

}  // namespace

json stats_report(const link::Stats& stats, const Config& config) {
    std::map<std::string, uint64_t> sums;
    json report = {{"uptime_s", stats.uptime_s()},
                   {"snapshot_generation", stats.snapshot_generation()},
                   {"moved_entries", stats.moved_entries()},
                   {"workers", json::array()},
                   {"ports", json::array()},
                   {"blades", json::array()},
                   {"capacities", json::array()},
                   {"holds", json::array()}};
    for (const auto& worker : stats.workers()) {
        json counters = json::object();
        for (const auto& counter : worker.counters()) {
            counters[counter.name()] = counter.value();
            sums[counter.name()] += counter.value();
        }
        report["workers"].push_back({{"worker", worker.worker()},
                                     {"busy_s", static_cast<double>(worker.busy_us()) / 1e6},
                                     {"counters", std::move(counters)}});
    }
    json reasons = json::object(), others = json::object();
    for (const ReasonText& reason : kReasonTexts)
        reasons[std::string(reason.name)] = value_of(sums, reason.name);
    for (const auto& [name, value] : sums)
        if (!is_reason(name) && std::ranges::find(kTotals, name) == kTotals.end()) others[name] = value;
    for (const std::string_view total : kTotals) report[std::string(total)] = value_of(sums, total);
    const uint64_t drops = drops_of(sums);
    report["drops"] = drops;
    report["conserved"] = value_of(sums, "rx") ==
                          value_of(sums, "tx") + value_of(sums, "punt") + value_of(sums, "held") + drops;
    report["flows"] = stats.flows();
    report["reasons"] = std::move(reasons);
    report["other"] = std::move(others);
    for (const auto& port : stats.ports()) report["ports"].push_back(port_report(port));
    for (const auto& capacity : stats.capacities())
        report["capacities"].push_back({{"name", capacity.name()},
                                        {"used", capacity.used()},
                                        {"limit", capacity.limit()},
                                        {"meaning", meaning_of_capacity(capacity.name())}});
    for (const auto& stage : stats.stages())
        report["stages"].push_back(
            stage_report(stage.name(), meaning_of_stage(stage.name()), histogram_of(stage.took())));
    for (const auto& holds : stats.holds()) report["holds"].push_back(hold_report(holds));
    for (const auto& blade : stats.blades()) {
        const auto known = config.blades.find(BladeId::or_none(blade.id()));
        report["blades"].push_back({{"id", blade.id()},
                                    {"name", known == config.blades.end() ? "" : known->second.name},
                                    {kBladeFlows.name, blade.flows_bound()},
                                    {"neighbour", blade.neighbour_known()}});
    }
    return report;
}

void add_blade_values(json& report, const Blade& blade) {
    for (const json& some : {values(kBladeCounters, blade), values(kBladeHandshakes, blade)})
        report.update(some);
}

void add_agents_counters(json& stats, const std::map<BladeId, Blade>& blades) {
    json& reports = stats["blades"];
    if (reports.is_null()) reports = json::array();
    for (const auto& [id, blade] : blades) {
        auto report = std::ranges::find_if(reports, [&](const json& one) { return one["id"] == id; });
        if (report == reports.end()) {
            reports.push_back({{"id", id}, {"name", blade.config.name}});
            report = reports.end() - 1;
        }
        add_blade_values(*report, blade);
    }
}

json counter_texts() {
    json texts = json::array();
    for (const ReasonText& reason : kReasonTexts)
        texts.push_back(text_report("reasons", {reason.name, CounterKind::total, "packets", reason.text}));
    add_texts(texts, "workers", kWorkerCounters);
    add_texts(texts, "ports", kPortCounters);
    texts.push_back(text_report("blades", kBladeFlows));
    add_texts(texts, "blades", kBladeCounters);
    add_texts(texts, "blades", kBladeHandshakes);
    for (const CounterText& result : kMoveResultTexts) texts.push_back(text_report("moves", result));
    texts.push_back(text_report("moves", kMovesUnderWay));
    add_texts(texts, "moves", kMoveCounters);
    texts.push_back(text_report("holds", kHoldsLonger));
    add_texts(texts, "checkpoints", kCheckpointCounters);
    add_texts(texts, "repositories", kRepositoryCounters);
    return texts;
}

namespace {
/// keyrail-dp's stages around those of keyraild and the agents: first "ask", then "answer" and "release".
json stages_report(const MoveStages& stages, const json& stats) {
    json report = json::array();
    const json of_dataplane = stats.value("stages", json::array());
    if (!of_dataplane.empty()) report.push_back(of_dataplane[0]);
    for (size_t i = 0; i < MoveStages::kTexts.size(); i++)
        report.push_back(
            stage_report(MoveStages::kTexts[i].name, MoveStages::kTexts[i].meaning, stages.stages()[i]));
    for (size_t i = 1; i < of_dataplane.size(); i++) report.push_back(of_dataplane[i]);
    return report;
}

}  // namespace

json moves_report(const Moves& moves, const json& stats) {
    const Orders& orders = moves.orders();
    const MoveCounters& counters = orders.counters();
    json report = values(kMoveCounters, counters);
    report[std::string(kMovesUnderWay.name)] = orders.under_way();
    for (size_t i = 0; i < kMoveResults; i++)
        report[std::string(kMoveResultTexts[i].name)] = counters.results[i];
    report["p50_us"] = counters.duration.quantile(0.50).count();
    report["p99_us"] = counters.duration.quantile(0.99).count();
    report["duration"] = {{"count", counters.duration.count()},
                          {"sum_us", counters.duration.sum_us()},
                          {"buckets", cumulative(counters.duration)}};
    report["stages"] = stages_report(moves.stages(), stats);
    return report;
}

json checkpoints_report(const CheckpointCounters& counters) { return values(kCheckpointCounters, counters); }

json repository_report(const RepositoryStats& stats) {
    json report = values(kRepositoryCounters, stats);
    report["up"] = stats.up;
    report["problem"] = stats.problem;
    return report;
}

json repositories_report(const Repositories& repositories) {
    constexpr std::array<const char*, 3> kKinds = {"none", "lmdb", "redis"};
    json report = json::object();
    for (const auto& [kind, queue] : repositories.all())
        report[kKinds[static_cast<size_t>(kind)]] = repository_report(queue->stats());
    return report;
}

namespace {
/// Where the wait that holds for a service comes from: its own key, costs, or neither is known yet.
const char* budget_from(const ServiceConfig* service, const Economics::Handshakes& costs) {
    if (service != nullptr && service->hold_budget) return "configuration";
    return costs.known() ? "costs" : "default";
}
}  // namespace

json economics_report(const Economics& economics, const Config& config, const json& stats) {
    constexpr std::array<const char*, 2> kVersions = {"1.2", "1.3"};
    json handshakes = json::array();
    double saved = 0;
    for (const auto& [service, versions] : economics.handshakes()) {
        const auto found = std::ranges::find(config.services, service, &ServiceConfig::name);
        const ServiceConfig* const configured = found == config.services.end() ? nullptr : &*found;
        for (size_t i = 0; i < versions.size(); i++) {
            const Economics::Handshakes& costs = versions[i];
            const auto budget =
                configured ? economics.hold_budget(*configured, kTlsVersions[i]) : costs.budget;
            handshakes.push_back({{"service", service},
                                  {"tls_version", kVersions[i]},
                                  {"full", cost_report(costs.full, costs.full_count)},
                                  {"resumed", cost_report(costs.resumed, costs.resumed_count)},
                                  {"hold_budget_us", budget.count()},
                                  {"hold_budget_from", budget_from(configured, costs)},
                                  {"auto_hold_budget_us", costs.budget.count()},
                                  {"saving_us", costs.known() ? json(costs.saving().count()) : json()},
                                  {"cpu_saved_seconds", costs.saved_s}});
            saved += costs.saved_s;
        }
    }
    const json reasons = stats.value("reasons", json::object());
    return {{"handshakes", std::move(handshakes)},
            {"move", cost_report(economics.move(), economics.moves_measured())},
            {"moves_skipped_not_worth", reasons.value("steer_not_worth", uint64_t{0})},
            {"moves_skipped_long_wait", reasons.value("steer_long_wait", uint64_t{0})},
            {"holds_expired", reasons.value("steer_move_late", uint64_t{0})},
            {"handshake_cpu_saved_seconds", saved}};
}

}  // namespace keyrail
