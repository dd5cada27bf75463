// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <numeric>

namespace keyrail::loadgen {
namespace {

constexpr std::array kFailures = {"no_syn_ack", "no_server_hello", "no_response",
                                  "no_close",   "reset",           "closed"};
static_assert(kFailures.size() == static_cast<size_t>(Failure::count));

double us(uint64_t ns) { return static_cast<double>(ns) / 1000; }

nlohmann::json latency(const Histogram& h) {
    return {{"count", h.count()},          {"p50", us(h.quantile(0.5))},    {"p90", us(h.quantile(0.9))},
            {"p99", us(h.quantile(0.99))}, {"p999", us(h.quantile(0.999))}, {"max", us(h.max())}};
}

std::string latency_line(const char* what, const Histogram& h) {
    return fmt::format("{:10} p50 {:.1f} us, p90 {:.1f}, p99 {:.1f}, p99.9 {:.1f}, max {:.1f}\n", what,
                       us(h.quantile(0.5)), us(h.quantile(0.9)), us(h.quantile(0.99)), us(h.quantile(0.999)),
                       us(h.max()));
}

}  // namespace

uint64_t Counts::failures() const { return std::accumulate(failed.begin(), failed.end(), uint64_t{0}); }

nlohmann::json Report::json() const {
    nlohmann::json failed, steps = nlohmann::json::array();
    for (size_t i = 0; i < kFailures.size(); i++) failed[kFailures[i]] = counts.failed[i];
    for (const Interval& i : intervals)
        steps.push_back({{"seconds", i.seconds},
                         {"rate", i.rate},
                         {"started", i.started},
                         {"completed", i.completed},
                         {"failed", i.failed},
                         {"life_p50_us", us(i.p50_ns)},
                         {"life_p99_us", us(i.p99_ns)}});
    const auto port = [](const PortCounts& p) {
        return nlohmann::json{{"received", p.received}, {"sent", p.sent}, {"refused", p.refused}};
    };
    return {{"seconds", seconds},
            {"per_second", per_second()},
            {"completed_in_time", completed},
            {"first_byte_us", latency(first_byte)},
            {"life_us", latency(life)},
            {"started", counts.started},
            {"completed", counts.completed},
            {"failed", counts.failures()},
            {"failed_by_reason", failed},
            {"unfinished", counts.unfinished},
            {"late", counts.late},
            {"retransmitted", counts.retransmitted},
            {"wrong_blade", counts.wrong_blade},
            {"split", counts.split},
            {"unreadable", counts.unreadable},
            {"duplicates", counts.duplicates},
            {"gaps", counts.gaps},
            {"strays", counts.strays},
            {"other", counts.other},
            {"no_memory", counts.no_memory},
            {"busy", busy},
            {"front", port(front)},
            {"back", port(back)},
            {"intervals", steps}};
}

std::string Report::text() const {
    std::string out = fmt::format("{:.0f} connections/s over {:.2f} s; {} started, {} completed, {} failed",
                                  per_second(), seconds, counts.started, counts.completed, counts.failures());
    for (size_t i = 0; i < kFailures.size(); i++)
        if (counts.failed[i] != 0) out += fmt::format(", {} {}", counts.failed[i], kFailures[i]);
    if (counts.unfinished != 0) out += fmt::format(", {} unfinished", counts.unfinished);
    out += fmt::format("\nretransmitted {}, wrong blade {}, split {}, gaps {}, duplicates {}, strays {}\n",
                       counts.retransmitted, counts.wrong_blade, counts.split, counts.gaps, counts.duplicates,
                       counts.strays);
    return out + latency_line("first byte", first_byte) + latency_line("life", life);
}

}  // namespace keyrail::loadgen
