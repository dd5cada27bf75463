// SPDX-License-Identifier: Apache-2.0
// Metrics: one function per report.
#include "control/daemon/api/metrics.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "control/daemon/api/counters.h"
#include "dataplane/common/verdict.h"

namespace keyrail {

using nlohmann::json;

namespace {

using Labels = Exposition::Labels;

/// The value at a path of keys; null when there is none.
json at(const json& report, const char* pointer) { return report.value(json::json_pointer(pointer), json()); }

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

/// A family of one sample per item of a list.
struct PerItem {
    std::string_view name, help;
    const char* pointer;
    bool counter = false;
};

void add_each(Exposition& out, const json& items, const Labels& label_keys,
              std::initializer_list<PerItem> all) {
    for (const PerItem& family : all) {
        family.counter ? out.counter(family.name, family.help) : out.gauge(family.name, family.help);
        for (const json& item : items) {
            Labels labels;
            for (const auto& [label, key] : label_keys) labels.emplace_back(label, text_of(item.at(key)));
            out.sample(at(item, family.pointer), labels);
        }
    }
}

void add_status(Exposition& out, const json& status) {
    out.info("build_info", "Constant 1; what runs is in its labels");
    out.sample(1, {{"chassis", text_of(status["chassis"])}, {"version", text_of(status["version"])}});
    out.gauge("uptime_seconds", "Since keyraild started");
    out.sample(status["uptime_s"]);
    out.gauge("dataplane_connected", "1: keyrail-dp is connected");
    out.sample(at(status, "/dataplane/connected"));
    out.gauge("snapshot_generation", "Of the newest snapshot, and of the one that keyrail-dp has");
    out.sample(status["snapshot_generation"], {{"of", "keyraild"}});
    out.sample(at(status, "/dataplane/snapshot_generation"), {{"of", "dataplane"}});
    out.gauge("moved_sessions", "Sessions that are not at their home");
    out.sample(status["moved_sessions"]);
    out.gauge("service_blades_up", "Blades of a pool of a service that take clients");
    for (const json& service : status["services"]) {
        out.sample(service["blades_up"], {{"service", text_of(service["name"])},
                                          {"pool", text_of(service["pool"])},
                                          {"sni", ""},
                                          {"alpn", ""}});
        for (const json& route : service["routes"])
            out.sample(route["blades_up"], {{"service", text_of(service["name"])},
                                            {"pool", text_of(route["pool"])},
                                            {"sni", text_of(route["sni"])},
                                            {"alpn", text_of(route["alpn"])}});
    }
}

/// "packets taken from ports and TAPs"
std::string help_of(const CounterText& counter) {
    return fmt::format("{} {}", counter.unit, counter.meaning);
}

/// A family of what this counter counts; add its samples.
void begin_family(Exposition& out, std::string_view of, const CounterText& counter,
                  std::string_view whose = "") {
    const std::string help = fmt::format("{}{}", whose, help_of(counter));
    counter.kind == CounterKind::gauge ? out.gauge(fmt::format("{}_{}", of, counter.name), help)
                                       : out.counter(fmt::format("{}_{}_total", of, counter.name), help);
}

/// The family of a counter of each blade.
void add_blade_family(Exposition& out, const CounterText& counter, const json& blades) {
    begin_family(out, "blade", counter, "Of a blade: ");
    for (const json& blade : blades)
        out.sample(blade.value(std::string(counter.name), json()), {{"blade", text_of(blade["id"])}});
}

/// Of blades that are being drained, and of no others.
void add_drains(Exposition& out, const json& blades) {
    out.gauge("blade_drain_sessions",
              "Sessions of a blade that is being drained: left, moved since it began, failed in this pass");
    for (const json& blade : blades)
        for (const char* state : {"left", "moved", "failed"})
            if (blade["drain"].is_object())
                out.sample(blade["drain"][state], {{"blade", text_of(blade["id"])}, {"state", state}});
}

void add_blades(Exposition& out, const json& blades) {
    constexpr std::array kStates = {"up", "overloaded", "draining", "down"};
    out.gauge("blade_state",
              "1 for which new sessions the blade takes (down: none); its flows are another matter");
    for (const json& blade : blades)
        for (const char* state : kStates)
            out.sample(blade["state"] == state, {{"blade", text_of(blade["id"])}, {"state", state}});
    out.info("blade_info", "Constant 1; what is known of the blade is in its labels");
    for (const json& blade : blades)
        out.sample(1, {{"blade", text_of(blade["id"])},
                       {"name", text_of(blade["name"])},
                       {"address", text_of(blade["address"])},
                       {"agent_version", text_of(blade["agent"]["version"])}});
    out.counter("blade_handshakes_total", "TLS handshakes of the blade's servers, since its store was made");
    for (const json& blade : blades)
        for (const BladeCounter& result : kBladeHandshakes)
            out.sample(blade[std::string(result.text.name)],
                       {{"blade", text_of(blade["id"])}, {"result", std::string(result.text.name)}});
    add_drains(out, blades);
    out.counter("accept_total",
                "What the blade's accept program made of late-bound connections' first segments");
    for (const json& blade : blades)
        for (const auto& [reason, count] : blade["agent"]["accepted"].items())
            out.sample(count, {{"blade", text_of(blade["id"])}, {"reason", reason}});
    out.gauge("blade_faults", "What is wrong with the blade's servers; keyrail blade list says what");
    for (const json& blade : blades) out.sample(blade["faults"].size(), {{"blade", text_of(blade["id"])}});
    add_each(
        out, blades, {{"blade", "id"}},
        {{"blade_takes_new", "1: it takes new sessions", "/takes_new"},
         {"blade_flows_live", "1: its flows are its own; 0: it is gone, they are bound anew", "/flows_live"},
         {"blade_agent_connected", "1: its agent is connected", "/agent/connected"}});
    const auto ratio = [&](std::string_view name, std::string_view help, const char* key) {
        out.gauge(name, help);
        for (const json& blade : blades)
            out.sample(blade[key].get<double>() / 100, {{"blade", text_of(blade["id"])}});
    };
    ratio("blade_load_ratio", "How busy its processors are: 1 is all of them", "load");
    ratio("blade_load_limit_ratio", "Over it the blade gets no new clients", "load_limit");
    for (const BladeCounter& counter : kBladeCounters) add_blade_family(out, counter.text, blades);
}

/// What workers count beside reasons, one family for each.
void add_worker_counters(Exposition& out, const json& workers) {
    for (const WorkerCounter& counter : kWorkerCounters) {
        begin_family(out, "worker", counter.text, "Of a worker: ");
        for (const json& worker : workers)
            out.sample(worker["counters"].value(std::string(counter.text.name), json()),
                       {{"worker", text_of(worker["worker"])}});
    }
}

void add_ports(Exposition& out, const json& ports) {
    add_each(out, ports, {{"port", "name"}}, {{"port_up", "1: the link is up", "/link_up"}});
    for (const PortCounter& counter : kPortCounters) {
        begin_family(out, "port", counter.text, "Of a port: ");
        for (const json& port : ports)
            out.sample(port.value(std::string(counter.text.name), json()), {{"port", text_of(port["name"])}});
    }
}

/// By service and TLS version.
void add_holds(Exposition& out, const json& holds) {
    const auto seconds = [](const json& us) {
        return us.is_number() ? json(us.get<double>() / 1e6) : json();
    };
    const auto labels_of = [](const json& one) {
        return Labels{{"service", text_of(one["service"])}, {"tls_version", text_of(one["tls_version"])}};
    };
    out.histogram("hold_duration_seconds",
                  "From a complete ClientHello to its release, where its session had to be moved");
    for (const json& one : holds)
        out.histogram_samples(one["buckets"], one["sum_us"], one["count"], labels_of(one));
    begin_family(out, "hold", kHoldsLonger);
    for (const json& one : holds) out.sample(one[std::string(kHoldsLonger.name)], labels_of(one));
    out.gauge("hold_saving_seconds", "What a full handshake would have taken held clients longer: median");
    for (const json& one : holds) out.sample(seconds(one["saving_p50_us"]), labels_of(one));
    out.gauge("hold_expected_seconds", "What the next client must expect to wait: nine of ten of the latest");
    for (const json& one : holds) out.sample(seconds(one["expected_us"]), labels_of(one));
}

/// What is in use of what keyrail-dp has room for.
void add_capacities(Exposition& out, const json& capacities) {
    for (const json& one : capacities) {
        const std::string name = text_of(one["name"]);
        out.gauge(name, fmt::format("In use at keyrail-dp: {}", text_of(one["meaning"])));
        out.sample(one["used"]);
        out.gauge(name + "_limit",
                  fmt::format("The most that keyrail-dp has room for: {}", text_of(one["meaning"])));
        out.sample(one["limit"]);
    }
}

void add_packets(Exposition& out, const json& stats) {
    if (!stats.contains("workers")) return;
    out.counter("packets_total",
                "Packets by what became of them, and why (keyrail stats explains each reason)");
    for (const json& worker : stats["workers"])
        for (const ReasonText& reason : kReasonTexts)
            out.sample(worker["counters"].value(std::string(reason.name), json()),
                       {{"worker", text_of(worker["worker"])}, {"reason", std::string(reason.name)}});
    add_worker_counters(out, stats["workers"]);
    out.counter("worker_busy_seconds_total",
                "Time in turns that had packets: its rate is the share of the worker's core that is in use");
    for (const json& worker : stats["workers"])
        out.sample(worker["busy_s"], {{"worker", text_of(worker["worker"])}});
    out.gauge("packets_conserved", "1: rx = tx + punt + held + drops");
    out.sample(stats["conserved"]);
    add_capacities(out, stats["capacities"]);
    out.gauge("dataplane_uptime_seconds", "Since keyrail-dp started");
    out.sample(stats["uptime_s"]);
    add_ports(out, stats["ports"]);
    add_blade_family(out, kBladeFlows, stats["blades"]);
    add_each(out, stats["blades"], {{"blade", "id"}},
             {{"blade_neighbour_known", "1: its MAC address is known", "/neighbour"}});
    add_holds(out, stats["holds"]);
}

void add_moves(Exposition& out, const json& moves) {
    out.counter("moves_total", "Moves of sessions by how they ended");
    for (const CounterText& result : kMoveResultTexts)
        out.sample(moves[std::string(result.name)], {{"result", std::string(result.name)}});
    out.histogram("move_duration_seconds", "From the order of a move to its acknowledgement");
    const json& took = moves["duration"];
    out.histogram_samples(took["buckets"], took["sum_us"], took["count"]);
    begin_family(out, "moves", kMovesUnderWay);
    out.sample(moves[std::string(kMovesUnderWay.name)]);
    for (const MoveCounter& counter : kMoveCounters) {
        begin_family(out, "moves", counter.text);
        out.sample(moves[std::string(counter.text.name)]);
    }
}

void add_checkpoints(Exposition& out, const json& checkpoints) {
    for (const CheckpointCounter& counter : kCheckpointCounters) {
        begin_family(out, "checkpoints", counter.text);
        out.sample(checkpoints[std::string(counter.text.name)]);
    }
    const json& repositories = checkpoints["repositories"];
    out.gauge("repository_up", "1: the repository answers");
    for (const auto& [kind, repository] : repositories.items())
        out.sample(repository["up"], {{"kind", kind}});
    for (const RepositoryCounter& counter : kRepositoryCounters) {
        begin_family(out, "repository", counter.text, "Of a repository: ");
        for (const auto& [kind, repository] : repositories.items())
            out.sample(repository[std::string(counter.text.name)], {{"kind", kind}});
    }
}

/// Configuration, keys, certificates.
void add_control(Exposition& out, const json& control) {
    const json &config = control["config"], &keys = control["keys"];
    out.gauge("config_revision", "Of the configuration that is in force");
    out.sample(config["revision"]);
    out.gauge("config_last_apply_successful",
              "1: the latest configuration that somebody applied is in force");
    out.sample(config["last_apply_successful"]);
    out.gauge("config_last_apply_timestamp_seconds", "When the configuration in force came into force");
    out.sample(config["last_apply_s"]);
    out.gauge("config_confirm_pending", "1: it goes back by itself unless somebody confirms it");
    out.sample(config["confirm_pending"]);
    out.gauge("key_age_seconds", "Since the key was made that new session names and cookies are made with");
    for (const char* kind : {"name", "cookie"}) out.sample(keys[kind], {{"kind", kind}});
    out.gauge("key_rotation_waiting", "Agents and dataplanes that a coming key waits for");
    out.sample(keys["waits_for"]);
    out.gauge("certificate_expiry_timestamp_seconds",
              "When a certificate ends: the CA's, keyraild's, agents'");
    for (const json& one : control["certificates"])
        out.sample(one["until_s"], {{"who", text_of(one["who"])}, {"blade", text_of(one["blade"])}});
}

/// So that the rate of resumption of a service is a ratio of counters.
void add_handshakes(Exposition& out, const json& handshakes) {
    out.counter(
        "handshakes_total",
        "TLS handshakes of servers that say which service they serve, since the blade's store was made");
    for (const json& one : handshakes)
        out.sample(one["count"], {{"service", text_of(one["service"])},
                                  {"tls_version", text_of(one["tls_version"])},
                                  {"blade", text_of(one["blade"])},
                                  {"result", text_of(one["result"])}});
}

/// Of keyraild, under the names that all programs give these.
void add_process(Exposition& out, const json& process) {
    out.counter("process_cpu_seconds_total", "CPU that keyraild has used");
    out.sample(process["cpu_s"]);
    out.gauge("process_start_time_seconds", "When keyraild was started");
    out.sample(process["start_s"]);
    out.gauge("process_resident_memory_bytes", "Memory of keyraild in RAM");
    out.sample(process["resident_bytes"]);
    out.gauge("process_virtual_memory_bytes", "Address space of keyraild");
    out.sample(process["virtual_bytes"]);
    out.gauge("process_open_fds", "Files, sockets and the like that keyraild has open");
    out.sample(process["open_fds"]);
    out.gauge("process_max_fds", "The most that it may have open");
    out.sample(process["max_fds"]);
}

void add_economics(Exposition& out, const json& economics) {
    const auto seconds = [](const json& us) {
        return us.is_number() ? json(us.get<double>() / 1e6) : json();
    };
    const auto each = [&](std::string_view name, std::string_view help, const char* key) {
        out.gauge(name, help);
        for (const json& one : economics["handshakes"])
            for (const char* result : {"full", "resumed"})
                out.sample(seconds(one[result][key]), {{"service", text_of(one["service"])},
                                                       {"tls_version", text_of(one["tls_version"])},
                                                       {"result", result}});
    };
    each("handshake_cpu_seconds", "CPU of the server for a handshake, mean of the latest", "cpu_us");
    each("handshake_wall_seconds", "Time that a handshake takes the server, mean of the latest", "wall_us");
    out.gauge("hold_budget_seconds",
              "Longest wait for a move, 0: none is worth it. in_force; auto: as costs say");
    for (const json& one : economics["handshakes"])
        for (const auto& [kind, key] :
             {std::pair{"in_force", "hold_budget_us"}, std::pair{"auto", "auto_hold_budget_us"}})
            out.sample(seconds(one[key]), {{"service", text_of(one["service"])},
                                           {"tls_version", text_of(one["tls_version"])},
                                           {"kind", kind}});
    out.counter("moves_measured_total", "Moves whose costs are known");
    out.sample(at(economics, "/move/count"));
    out.gauge("move_cpu_seconds", "CPU of both agents for a move, mean of the latest");
    out.sample(seconds(at(economics, "/move/cpu_us")));
    out.counter("handshake_cpu_saved_seconds_total", "CPU that resumptions have saved the servers");
    out.sample(economics["handshake_cpu_saved_seconds"]);
    out.counter("moves_skipped_not_worth_total", "Sessions not moved: a full handshake is cheaper");
    out.sample(economics["moves_skipped_not_worth"]);
    out.counter("moves_skipped_long_wait_total",
                "Sessions not moved: a full handshake would be over earlier");
    out.sample(economics["moves_skipped_long_wait"]);
    out.counter("holds_expired_total", "Hold budgets spent before the move was acknowledged");
    out.sample(economics["holds_expired"]);
}

}  // namespace

std::string metrics_text(const MetricsReports& reports, MetricsFormat format) {
    Exposition out(format);
    add_status(out, reports.status);
    add_control(out, reports.control);
    add_blades(out, reports.blades);
    add_handshakes(out, reports.control["handshakes"]);
    add_packets(out, reports.stats);
    add_moves(out, reports.stats["moves"]);
    add_checkpoints(out, reports.stats["checkpoints"]);
    add_economics(out, reports.stats["economics"]);
    add_process(out, reports.control["process"]);
    return std::move(out).text();
}

}  // namespace keyrail
