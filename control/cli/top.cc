// SPDX-License-Identifier: Apache-2.0
// keyrail top: what happens a second, by service, blade and worker: two readings of keyraild's counters, and
// the difference.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/table.h"

namespace keyrail::cli {

using nlohmann::json;
using TopClock = std::chrono::steady_clock;

namespace {

struct TopReading {
    json stats, blades, status;
    TopClock::time_point at;
};

tl::expected<TopReading, Failure> read_all(const Invocation& invocation) {
    TopReading reading;
    for (const auto& [path, into] :
         {std::pair{"/v1/stats", &reading.stats}, std::pair{"/v1/blades", &reading.blades},
          std::pair{"/v1/status", &reading.status}}) {
        Reply reply = ask(invocation, path);
        if (!reply) return tl::make_unexpected(reply.error());
        *into = std::move(*reply);
    }
    reading.at = TopClock::now();
    return reading;
}

/// Counters begin anew with the process that counts.
double growth_of(const json& before, const json& after, const std::string& key) {
    const auto value = [&](const json& of) {
        return of.is_object() ? of.value(key, uint64_t{0}) : uint64_t{0};
    };
    return value(after) >= value(before) ? static_cast<double>(value(after) - value(before)) : 0.0;
}

/// The element that has this value there; null without.
json element_with(const json& list, const char* key, const json& value) {
    if (list.is_array())
        for (const json& one : list)
            if (one.value(key, json()) == value) return one;
    return nullptr;
}

json member_of(const json& object, const char* key) {
    return object.is_object() ? object.value(key, json()) : json();
}

bool is_hello(const std::string& reason) {
    return reason.starts_with("steer_") && reason != "steer_midstream" && reason != "steer_tuple";
}

double sum_of(const json& before, const json& after, const std::function<bool(const std::string&)>& which) {
    double sum = 0;
    if (after.is_object())
        for (const auto& [name, value] : after.items())
            if (value.is_number_unsigned() && which(name)) sum += growth_of(before, after, name);
    return sum;
}

json service_rates(const TopReading& before, const TopReading& after, double seconds) {
    json list = json::array();
    for (const json& service : after.status.at("services")) {
        double full = 0, resumed = 0, holds = 0;
        json p50 = nullptr;
        const auto mine = [&](const json& one) { return one.at("service") == service.at("name"); };
        const auto earlier = [&](const json& all, const json& one) {
            if (all.is_array())
                for (const json& old : all)
                    if (old.at("service") == one.at("service") &&
                        old.at("tls_version") == one.at("tls_version"))
                        return old;
            return json();
        };
        for (const json& costs : after.stats.at("economics").at("handshakes")) {
            if (!mine(costs)) continue;
            const json old = earlier(before.stats.at("economics").at("handshakes"), costs);
            full += growth_of(member_of(old, "full"), costs.at("full"), "count");
            resumed += growth_of(member_of(old, "resumed"), costs.at("resumed"), "count");
        }
        for (const json& held : after.stats.value("holds", json::array())) {
            if (!mine(held)) continue;
            holds += growth_of(earlier(before.stats.value("holds", json::array()), held), held, "count");
            if (!held.at("p50_us").is_null()) p50 = held.at("p50_us");
        }
        const double all = full + resumed;
        list.push_back({{"service", service.at("name")},
                        {"blades_up", service.at("blades_up")},
                        {"connections_per_s", all / seconds},
                        {"resumed_percent", all > 0 ? json(100 * resumed / all) : json()},
                        {"holds_per_s", holds / seconds},
                        {"hold_p50_us", p50}});
    }
    return list;
}

json blade_rates(const TopReading& before, const TopReading& after, double seconds) {
    json list = json::array();
    for (const json& blade : after.blades) {
        const json old = element_with(before.blades, "id", blade.at("id"));
        const json now_dp = element_with(after.stats.at("blades"), "id", blade.at("id")),
                   old_dp = element_with(before.stats.at("blades"), "id", blade.at("id"));
        const double full = growth_of(old, blade, "full"), resumed = growth_of(old, blade, "resumed");
        list.push_back(
            {{"id", blade.at("id")},
             {"name", blade.at("name")},
             {"state", blade.at("state")},
             {"load", blade.at("load")},
             {"sessions", blade.at("sessions")},
             {"connections_per_s", growth_of(old_dp, now_dp, "flows") / seconds},
             {"full_per_s", full / seconds},
             {"resumed_per_s", resumed / seconds},
             {"resumed_percent", full + resumed > 0 ? json(100 * resumed / (full + resumed)) : json()}});
    }
    return list;
}

json worker_rates(const TopReading& before, const TopReading& after, double seconds) {
    json list = json::array();
    for (const json& worker : after.stats.value("workers", json::array())) {
        const json old = member_of(
            element_with(before.stats.value("workers", json::array()), "worker", worker.at("worker")),
            "counters");
        const json& now = worker.at("counters");
        list.push_back({{"worker", worker.at("worker")},
                        {"packets_per_s", growth_of(old, now, "rx") / seconds},
                        {"hellos_per_s", sum_of(old, now, is_hello) / seconds},
                        {"flows", now.value("flows", uint64_t{0})},
                        {"holds", now.value("holds", uint64_t{0})},
                        {"drops_per_s", sum_of(old, now, [](const std::string& name) {
                                            return name.starts_with("drop_");
                                        }) / seconds}});
    }
    return list;
}

json move_rates(const TopReading& before, const TopReading& after, double seconds) {
    json per_s = json::object();
    for (const auto& [name, value] : after.stats.at("moves").items())
        if (value.is_number_unsigned() && !name.ends_with("_us") && name != "under_way")
            per_s[name] = growth_of(before.stats.at("moves"), after.stats.at("moves"), name) / seconds;
    return per_s;
}

json drop_rates(const TopReading& before, const TopReading& after, double seconds) {
    json list = json::array();
    const json now = after.stats.value("reasons", json::object()),
               old = before.stats.value("reasons", json::object());
    for (const json& counter : after.stats.at("counters")) {
        const std::string name = counter.at("name");
        if (counter.at("of") != "reasons" || !name.starts_with("drop_")) continue;
        const double dropped = growth_of(old, now, name);
        if (dropped > 0)
            list.push_back(
                {{"reason", name}, {"per_s", dropped / seconds}, {"meaning", counter.at("meaning")}});
    }
    return list;
}

json difference(const TopReading& before, const TopReading& after) {
    const double seconds = std::max(0.001, std::chrono::duration<double>(after.at - before.at).count());
    return {{"interval_s", seconds},
            {"chassis", after.status.at("chassis")},
            {"dataplane", after.status.at("dataplane").at("connected")},
            {"services", service_rates(before, after, seconds)},
            {"blades", blade_rates(before, after, seconds)},
            {"workers", worker_rates(before, after, seconds)},
            {"moves_per_s", move_rates(before, after, seconds)},
            {"drops", drop_rates(before, after, seconds)}};
}

std::string rate_text(const json& value) {
    const double number = value.get<double>();
    return fmt::format(fmt::runtime(number < 10 && number > 0 ? "{:.1f}" : "{:.0f}"), number);
}
std::string percent_text(const json& value) {
    return value.is_null() ? "-" : fmt::format("{:.1f}%", value.get<double>());
}

void show_top(const json& top) {
    fmt::print("{}: a second, over {:.1f} s{}\n\n", top.at("chassis").get<std::string>(),
               top.at("interval_s").get<double>(),
               top.at("dataplane").get<bool>() ? "" : "; keyrail-dp IS NOT CONNECTED");
    Table by_service({"SERVICE", "BLADES UP", "CONN/s", "RESUMED", "HOLDS/s", "HOLD P50 us"});
    for (const json& one : top.at("services"))
        by_service.add({one.at("service"), one.at("blades_up").dump(), rate_text(one.at("connections_per_s")),
                        percent_text(one.at("resumed_percent")), rate_text(one.at("holds_per_s")),
                        one.at("hold_p50_us").is_null() ? "-" : one.at("hold_p50_us").dump()});
    by_service.print();
    fmt::print("\n");
    Table by_blade(
        {"BLADE", "NAME", "STATE", "LOAD", "SESSIONS", "CONN/s", "FULL/s", "RESUMED/s", "RESUMED"});
    for (const json& one : top.at("blades"))
        by_blade.add({one.at("id").dump(), one.at("name"), one.at("state"),
                      fmt::format("{:.0f}%", one.at("load").get<double>()), one.at("sessions").dump(),
                      rate_text(one.at("connections_per_s")), rate_text(one.at("full_per_s")),
                      rate_text(one.at("resumed_per_s")), percent_text(one.at("resumed_percent"))});
    by_blade.print();
    fmt::print("\n");
    Table by_worker({"WORKER", "PACKETS/s", "HELLOS/s", "FLOWS", "HOLDS", "DROPS/s"});
    for (const json& one : top.at("workers"))
        by_worker.add({one.at("worker").dump(), rate_text(one.at("packets_per_s")),
                       rate_text(one.at("hellos_per_s")), one.at("flows").dump(), one.at("holds").dump(),
                       rate_text(one.at("drops_per_s"))});
    if (!by_worker.empty()) by_worker.print();
    std::string moved;
    for (const auto& [name, value] : top.at("moves_per_s").items())
        if (value.get<double>() > 0)
            moved += fmt::format("{}{} {}/s", moved.empty() ? "" : ", ", name, rate_text(value));
    fmt::print("\nmoves      {}\n", moved.empty() ? "none" : moved);
    Table by_reason({"DROPS/s", "REASON", "MEANING"});
    for (const json& one : top.at("drops"))
        by_reason.add({rate_text(one.at("per_s")), one.at("reason"), one.at("meaning")});
    if (by_reason.empty()) return;
    fmt::print("\n");
    by_reason.print();
}

int run_top(const Invocation& invocation, std::chrono::microseconds every, bool once) {
    auto before = read_all(invocation);
    if (!before) return complain(invocation, before.error());
    for (;;) {
        std::this_thread::sleep_for(every);
        auto after = read_all(invocation);
        if (!after && once) return complain(invocation, after.error());
        if (!after) {  // it may come back
            complain(invocation, after.error());
            continue;
        }
        const json top = difference(*before, *after);
        if (invocation.json) {
            fmt::print("{}\n", top.dump(once ? 2 : -1));
        } else {
            if (!once) fmt::print("\033[H\033[2J");
            show_top(top);
        }
        std::fflush(stdout);
        if (once) return kDone;
        before = std::move(after);
    }
}

}  // namespace

void add_top(CLI::App& app, Invocation& invocation) {
    struct Arguments {
        std::chrono::microseconds every{2'000'000};
        bool once = false;
    };
    const auto arguments = std::make_shared<Arguments>();
    CLI::App* command = subcommand(
        app, "top",
        "What happens a second, by service, blade and worker, again and again; with --json a line each time");
    add_duration(
        *command, "--every",
        [arguments](std::chrono::microseconds time) {
            if (time < std::chrono::milliseconds(100))
                throw CLI::ValidationError("--every", "at least 100ms");
            arguments->every = time;
        },
        "so far apart (2s)");
    command->add_flag("--once", arguments->once, "once, and no more");
    command->callback([&invocation, arguments] {
        invocation.run = [&invocation, arguments] {
            return run_top(invocation, arguments->every, arguments->once);
        };
    });
}

}  // namespace keyrail::cli
