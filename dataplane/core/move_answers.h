// SPDX-License-Identifier: Apache-2.0
// The way of an answer to the worker that holds the hello: from the control thread, or from a worker that has
// heard of an arrival.
#pragma once

#include <rte_ring_elem.h>
#include <unistd.h>

#include "dataplane/core/shared.h"

namespace keyrail {

/// False: there is no such worker, or its ring is full, for it stands still; then its hold ends by its own
/// budget. `wake` one that naps; a worker need not wake itself.
inline bool answer_worker(MoveAnswer answer, const Shared& shared, bool wake = true) {
    const uint32_t worker = answer.move_id.worker();
    rte_ring* const ring = worker < shared.workers ? shared.answers[worker] : nullptr;
    if (ring == nullptr || rte_ring_enqueue_elem(ring, &answer, sizeof answer) != 0) return false;
    if (!wake || shared.wake_worker[worker] < 0) return true;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(shared.wake_worker[worker], &one, sizeof one);
    return true;
}

}  // namespace keyrail
