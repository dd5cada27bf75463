// SPDX-License-Identifier: Apache-2.0
// Metrics: one function per report.
#include "control/daemon/api/metrics.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "control/daemon/api/counters.h"
#include "dataplane/common/verdict.h"

namespace keyrail {

using nlohmann::json;

namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

/// Families, each followed by its samples.
class Exposition {
  public:
    void counter(std::string_view name, std::string_view help) { family(name, "counter", help); }
    void gauge(std::string_view name, std::string_view help) { family(name, "gauge", help); }
    void histogram(std::string_view name, std::string_view help) { family(name, "histogram", help); }

    /// A number or a boolean; anything else (null: not known) is no sample.
    void sample(const json& value, const Labels& labels = {}, std::string_view suffix = "") {
        if (!value.is_number() && !value.is_boolean()) return;
        std::string inside;
        for (const auto& [label, text] : labels)
            inside += fmt::format("{}{}=\"{}\"", inside.empty() ? "" : ",", label, escaped(text));
        text_ += fmt::format("{}{}{} {}\n", name_, suffix, inside.empty() ? "" : "{" + inside + "}",
                             value.is_boolean() ? json(value.get<bool>() ? 1 : 0).dump() : value.dump());
    }
    std::string text() && { return std::move(text_); }

  private:
    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = fmt::format("keyrail_{}", name);
        text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, help, name_, type);
    }
    static std::string escaped(std::string_view text) {
        std::string out;
        for (const char c : text) {
            if (c == '\\' || c == '"') out += '\\';
            out += c == '\n' ? "\\n" : std::string(1, c);
        }
        return out;
    }

    std::string name_, text_;
};

/// The value at a path of keys; null when there is none.
json at(const json& report, const char* pointer) { return report.value(json::json_pointer(pointer), json()); }

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

/// null where the time is not known.
json seconds(const json& us) { return us.is_number() ? json(us.get<double>() / 1e6) : json(); }

/// A histogram of times, as reports have it: {"buckets": [{`bound`: …, "count": …}], "count", "sum_us"}.
void add_times(Exposition& out, const json& took, const char* bound, double per_second,
               const Labels& labels) {
    const auto below = [&](std::string bound_text) {
        Labels all = labels;
        all.emplace_back("le", std::move(bound_text));
        return all;
    };
    for (const json& step : took["buckets"])
        out.sample(step["count"], below(fmt::format("{}", step[bound].get<double>() / per_second)),
                   "_bucket");
    out.sample(took["count"], below("+Inf"), "_bucket");
    out.sample(seconds(took["sum_us"]), labels, "_sum");
    out.sample(took["count"], labels, "_count");
}

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
    out.gauge("info", "Constant 1; what runs is in its labels");
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

void add_blades(Exposition& out, const json& blades) {
    constexpr std::array kStates = {"up", "overloaded", "draining", "down"};
    out.gauge("blade_state",
              "1 for which new sessions the blade takes (down: none); its flows are another matter");
    for (const json& blade : blades)
        for (const char* state : kStates)
            out.sample(blade["state"] == state,
                       {{"blade", text_of(blade["id"])}, {"name", text_of(blade["name"])}, {"state", state}});
    out.counter("handshakes_total", "TLS handshakes of the blade's servers, since its store was made");
    for (const json& blade : blades)
        for (const BladeCounter& result : kBladeHandshakes)
            out.sample(blade[std::string(result.text.name)],
                       {{"blade", text_of(blade["id"])}, {"result", std::string(result.text.name)}});
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
         {"blade_agent_connected", "1: its agent is connected", "/agent/connected"},
         {"blade_load_percent", "How busy its processors are", "/load"},
         {"blade_load_limit_percent", "Over it the blade gets no new clients", "/load_limit"}});
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

/// By service and TLS version. A histogram's samples have names of their own.
void add_holds(Exposition& out, const json& holds) {
    const auto labels_of = [](const json& one) {
        return Labels{{"service", text_of(one["service"])}, {"tls_version", text_of(one["tls_version"])}};
    };
    out.histogram("hold_duration_seconds",
                  "From a complete ClientHello to its release, where its session had to be moved");
    for (const json& one : holds) add_times(out, one, "le_us", 1e6, labels_of(one));
    begin_family(out, "hold", kHoldsLonger);
    for (const json& one : holds) out.sample(one[std::string(kHoldsLonger.name)], labels_of(one));
    out.gauge("hold_saving_seconds", "What a full handshake would have taken held clients longer: median");
    for (const json& one : holds) out.sample(seconds(one["saving_p50_us"]), labels_of(one));
    out.gauge("hold_expected_seconds", "What the next client must expect to wait: nine of ten of the latest");
    for (const json& one : holds) out.sample(seconds(one["expected_us"]), labels_of(one));
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
    out.gauge("packets_conserved", "1: rx = tx + punt + held + drops");
    out.sample(stats["conserved"]);
    out.gauge("moved_entries", "Entries of keyrail-dp's moved table");
    out.sample(stats["moved_entries"]);
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
    out.gauge("move_seconds", "From the order of a move to its acknowledgement");
    for (const auto& [key, quantile] : {std::pair{"p50_us", "0.5"}, {"p99_us", "0.99"}})
        out.sample(moves[key].get<double>() / 1e6, {{"quantile", quantile}});
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
        out.sample(repository["up"], {{"repository", kind}});
    for (const RepositoryCounter& counter : kRepositoryCounters) {
        begin_family(out, "repository", counter.text, "Of a repository: ");
        for (const auto& [kind, repository] : repositories.items())
            out.sample(repository[std::string(counter.text.name)], {{"repository", kind}});
    }
}

void add_economics(Exposition& out, const json& economics) {
    const auto each = [&](auto&& add) {
        for (const json& one : economics["handshakes"])
            for (const char* kind : {"full", "resumed"})
                add(one[kind], Labels{{"service", text_of(one["service"])},
                                      {"tls_version", text_of(one["tls_version"])},
                                      {"kind", kind}});
    };
    out.counter("handshakes_measured_total", "Handshakes whose costs are known");
    each([&](const json& cost, const Labels& labels) { out.sample(cost["count"], labels); });
    out.gauge("handshake_cpu_seconds", "CPU of the server for a handshake, mean of the latest");
    each([&](const json& cost, const Labels& labels) { out.sample(seconds(cost["cpu_us"]), labels); });
    out.gauge("handshake_wall_seconds", "Time that a handshake takes the server, mean of the latest");
    each([&](const json& cost, const Labels& labels) { out.sample(seconds(cost["wall_us"]), labels); });
    out.gauge("hold_budget_seconds", "Longest wait for a move as costs say; 0: a move is not worth it");
    for (const json& one : economics["handshakes"])
        out.sample(seconds(one["auto_hold_budget_us"]),
                   {{"service", text_of(one["service"])}, {"tls_version", text_of(one["tls_version"])}});
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

/// Of keyraild's health checks, by blade, service and address.
void add_checks(Exposition& out, const json& checks) {
    const auto labels_of = [](const json& check) {
        return Labels{{"blade", text_of(check["blade"])},
                      {"service", text_of(check["service"])},
                      {"address", text_of(check["address"])}};
    };
    const auto each = [&](const char* pointer) {
        for (const json& check : checks) out.sample(at(check, pointer), labels_of(check));
    };
    out.gauge("blade_check_up", "1: checks find that it serves; 0: it is out; none: not known yet");
    for (const json& check : checks)
        if (check["state"] != "unknown") out.sample(check["state"] == "up", labels_of(check));
    out.histogram("blade_check_duration_seconds",
                  "From the connection to the answer, or to the end of its time");
    for (const json& check : checks) add_times(out, check["durations"], "le_ms", 1e3, labels_of(check));
    out.counter("blade_check_failures_total", "Checks that failed, by what was the matter");
    for (const json& check : checks)
        for (const auto& [why, count] : check["failed"].items()) {
            Labels labels = labels_of(check);
            labels.emplace_back("why", why);
            out.sample(count, labels);
        }
    out.counter("blade_check_sessions_offered_total", "Checks that offered the session of the one before");
    each("/offered");
    out.counter("blade_check_sessions_resumed_total", "Of these, those that the server resumed");
    each("/resumed");
    out.counter("blade_flaps_total", "How often checks have taken it out");
    each("/flaps");
    out.gauge("blade_weight_ratio", "Of its part of the new clients: the operator's weight, and slow start");
    for (const json& check : checks) out.sample(check["share"].get<double>() / 100, labels_of(check));
    out.gauge("blade_check_certificate_expiry_timestamp_seconds", "When the certificate ends that it shows");
    for (const json& check : checks)
        if (const json ends = at(check, "/last/certificate_ends_ms"); ends.is_number())
            out.sample(ends.get<double>() / 1e3, labels_of(check));
}

}  // namespace

std::string metrics_text(const json& status, const json& blades, const json& stats) {
    Exposition out;
    add_status(out, status);
    add_blades(out, blades);
    add_packets(out, stats);
    add_moves(out, stats["moves"]);
    add_checkpoints(out, stats["checkpoints"]);
    add_economics(out, stats["economics"]);
    add_checks(out, stats.value("checks", json::array()));
    return std::move(out).text();
}

}  // namespace keyrail
