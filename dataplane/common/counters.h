// SPDX-License-Identifier: Apache-2.0
// What each counter counts, declared once: the messages to keyraild, the API's JSON, Prometheus and the
// operator's command take names, kinds and words from these tables. (Reasons, which are counters too:
// verdict.h.)
#pragma once

#include <array>
#include <string_view>

#include "dataplane/common/stats.h"

namespace keyrail {

enum class CounterKind : uint8_t {
    total,  // only goes up
    gauge,  // goes up and down
};

struct CounterText {
    std::string_view name;
    CounterKind kind = CounterKind::total;
    std::string_view unit, meaning;
};

template <typename Stats, typename Value = uint64_t>
struct CounterOf {
    CounterText text;
    Value Stats::* value;
};

using WorkerCounter = CounterOf<WorkerStats, Counter>;
inline constexpr std::array kWorkerCounters = {
    WorkerCounter{{"rx", CounterKind::total, "packets", "taken from ports and TAPs"}, &WorkerStats::rx},
    WorkerCounter{{"tx", CounterKind::total, "packets", "put on ports"}, &WorkerStats::tx},
    WorkerCounter{{"punt", CounterKind::total, "packets", "given to TAPs: for the kernel"},
                  &WorkerStats::punt},
    WorkerCounter{{"held", CounterKind::gauge, "packets", "segments in the hold table"}, &WorkerStats::held},
    WorkerCounter{{"flows", CounterKind::gauge, "flows", "entries of the flow table in use"},
                  &WorkerStats::flows},
    WorkerCounter{{"holds", CounterKind::gauge, "connections", "whose ClientHello is held"},
                  &WorkerStats::holds},
    WorkerCounter{{"moves_asked", CounterKind::total, "moves", "asked of keyraild"},
                  &WorkerStats::moves_asked},
    WorkerCounter{{"flows_asked", CounterKind::total, "connections", "whose blade agents were asked for"},
                  &WorkerStats::flows_asked},
    WorkerCounter{{"flows_found", CounterKind::total, "connections", "whose blade agents named"},
                  &WorkerStats::flows_found},
    WorkerCounter{{"name_jobs", CounterKind::total, "jobs", "of ipsec-mb: two for the names of a burst"},
                  &WorkerStats::name_jobs},
    WorkerCounter{{"name_blocks", CounterKind::total, "names", "opened"}, &WorkerStats::name_blocks},
    WorkerCounter{
        {"names_forged", CounterKind::total, "names", "changed by somebody, or made before they had tags"},
        &WorkerStats::names_forged},
};

using PortCounter = CounterOf<PortCounters>;
inline constexpr std::array kPortCounters = {
    PortCounter{{"rx_packets", CounterKind::total, "packets", "received"}, &PortCounters::rx_packets},
    PortCounter{{"tx_packets", CounterKind::total, "packets", "sent"}, &PortCounters::tx_packets},
    PortCounter{{"rx_bytes", CounterKind::total, "bytes", "received, of whole frames"},
                &PortCounters::rx_bytes},
    PortCounter{{"tx_bytes", CounterKind::total, "bytes", "sent, of whole frames"}, &PortCounters::tx_bytes},
    PortCounter{{"rx_missed", CounterKind::total, "packets", "that found no room in the receive queue"},
                &PortCounters::rx_missed},
    PortCounter{{"rx_errors", CounterKind::total, "packets", "received damaged"}, &PortCounters::rx_errors},
    PortCounter{{"tx_errors", CounterKind::total, "packets", "that could not be sent"},
                &PortCounters::tx_errors},
};

}  // namespace keyrail
