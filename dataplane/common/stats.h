// SPDX-License-Identifier: Apache-2.0
// Counters of one worker: written by it alone, read by the control thread with relaxed loads.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/common/counter.h"
#include "dataplane/common/hold_waits.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/verdict.h"

namespace keyrail {

/// Gauges and totals beside the reasons. rx == tx + punt + held + sum(reasons named drop_*).
struct alignas(64) WorkerStats {
    Counter rx;       // packets taken from wires and TAPs
    Counter tx;       // packets put on wires
    Counter punt;     // packets given to TAPs
    Counter held;     // gauge: segments in the hold table, packets whose blade is asked for
    Counter flows;    // gauge: flow entries in use
    Counter holds;    // gauge: ClientHellos held
    Counter turns;    // of its loop: it moves (WorkerWatch)
    Counter busy_us;  // in turns that had packets
    Counter moves_asked;
    Counter flows_asked;   // whose connections agents were asked for
    Counter flows_found;   // and which they found
    Counter name_jobs;     // ipsec-mb jobs
    Counter name_blocks;   // names opened
    Counter names_forged;  // whose block is one of ours, but not their tag
    std::array<Counter, kReasons> reasons;
    std::array<Counter, BladeId::kMax + 1> blade_flows;  // flows bound, by blade id
    AllHoldWaits hold_waits;
    SharedHistogram
        to_worker;  // of a move: the control thread has its answer -> the worker releases the hold

    void count(Reason reason, uint64_t n = 1) { reasons[static_cast<size_t>(reason)].add(n); }
};

/// Of one port, as its driver counts.
struct PortCounters {
    uint64_t rx_packets = 0, tx_packets = 0;
    uint64_t rx_bytes = 0, tx_bytes = 0;
    uint64_t rx_missed = 0, rx_errors = 0, tx_errors = 0;
};

}  // namespace keyrail
