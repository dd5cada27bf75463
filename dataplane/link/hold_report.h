// SPDX-License-Identifier: Apache-2.0
// What held clients waited, and where that time went inside keyrail-dp, as parts of the Stats message.
#pragma once

#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/core/shared.h"
#include "link.pb.h"

namespace keyrail {

/// The control thread's part of a move.
struct MoveStages {
    SharedHistogram to_control;     // a worker asks for it -> the request is sent to keyraild
    SharedHistogram from_keyraild;  // keyraild has sent the answer -> it is read here

    static void add(SharedHistogram& stage, uint64_t from_ns, uint64_t to_ns);
};

void report_holds(std::span<const WorkerStats* const> workers, const Snapshot& snapshot, const Shared& shared,
                  link::Stats& into);
void report_stages(std::span<const WorkerStats* const> workers, const MoveStages& stages, link::Stats& into);

}  // namespace keyrail
