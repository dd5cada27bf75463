// SPDX-License-Identifier: Apache-2.0
// The dataplane's counters for people: sums per reason over the workers, and whether packets are conserved.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"
#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/economics.h"
#include "control/daemon/moves/moves.h"
#include "control/daemon/moves/repositories.h"

namespace keyrail {

namespace link {
class Stats;
}

/// {rx, tx, punt, held, drops, conserved, flows, reasons, workers, ports, blades, moved_entries, …}
/// holds: [per service and TLS version: what held clients waited, what a full handshake would have cost them,
/// and what the next one must expect].
/// conserved: rx == tx + punt + held + drops (dataplane/common/verdict.h).
nlohmann::json stats_report(const link::Stats& stats, const Config& config);

/// What a blade's agent counts: {sessions, store_bytes, resumed, full}; into the blade's own report, and into
/// stats["blades"]. All configured blades are in that afterwards; keyrail-dp's counters stay in it.
void add_blade_values(nlohmann::json& report, const Blade& blade);
void add_agents_counters(nlohmann::json& stats, const std::map<BladeId, Blade>& blades);

/// [{of, name, kind, unit, meaning}]: what every counter of /v1/stats means, the reasons first, in the order
/// in which people read them. `of` says where its values are: "reasons", "workers" (their sums beside them),
/// "ports", "blades", "moves", "checkpoints", "repositories" (in the checkpoints).
nlohmann::json counter_texts();

/// {asked, joined, ordered, moved, …, late, under_way, p50_us, p99_us, duration, stages}
/// duration: {count, sum_us, buckets: [{le_us, count}]} of moves that were acknowledged.
/// stages: [{name, meaning, count, p50_us, p99_us}], in the order in which a move takes them; those inside
/// keyrail-dp are in `stats`, as stats_report made it, or missing without a dataplane.
nlohmann::json moves_report(const Moves& moves, const nlohmann::json& stats);

/// {sessions, reported, stale, …}
nlohmann::json checkpoints_report(const CheckpointCounters& counters);

/// {up, problem, waiting, stored, …}; and by kind.
nlohmann::json repository_report(const RepositoryStats& stats);
nlohmann::json repositories_report(const Repositories& repositories);

/// {handshakes: [per service and TLS version: costs, the budget in force and the one that costs say], moves,
/// moves_skipped_not_worth, moves_skipped_long_wait, holds_expired, handshake_cpu_saved_seconds}; `stats`: as
/// stats_report made it, or empty without a dataplane.
nlohmann::json economics_report(const Economics& economics, const Config& config,
                                const nlohmann::json& stats);

}  // namespace keyrail
