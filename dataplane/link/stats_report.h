// SPDX-License-Identifier: Apache-2.0
// Counters of workers, ports and blades as the Stats message of control/protocol/link.proto.
#pragma once

#include <span>

#include "dataplane/io/ports.h"
#include "dataplane/shared.h"
#include "dataplane/stats.h"
#include "link.pb.h"

namespace keyrail {

/// Everything but the uptime. Reads what others write, with relaxed loads: sums may be a packet apart.
void report_stats(std::span<const WorkerStats* const> workers, const Ports& ports, const Shared& shared,
                  link::Stats& into);

}  // namespace keyrail
