// SPDX-License-Identifier: Apache-2.0
// Counters of workers, ports and blades as the Stats message of dataplane/common/link.proto.
#pragma once

#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/core/shared.h"
#include "dataplane/io/ports.h"
#include "link.pb.h"

namespace keyrail {

/// Everything but the uptime. Reads what others write, with relaxed loads: sums may be a packet apart.
void report_stats(std::span<const WorkerStats* const> workers, const Ports& ports, const Shared& shared,
                  link::Stats& into);

}  // namespace keyrail
