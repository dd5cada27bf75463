// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/arrivals.h"

#include <rte_ring_elem.h>
#include <unistd.h>

namespace keyrail::parse {

void pass_on(const Arrival& arrival, Context& context) {
    const MoveId id(arrival.move_id);
    const uint32_t worker = id.worker();
    rte_ring* const ring = worker < context.shared.workers ? context.shared.answers[worker] : nullptr;
    MoveAnswer answer{.move_id = id, .holder = 0, .moved = 1, .token = arrival.token};
    if (ring == nullptr || answer.token == 0 || rte_ring_enqueue_elem(ring, &answer, sizeof answer) != 0)
        return;  // keyraild's answer comes, too
    const int wake = context.shared.wake_worker[worker];
    if (worker == context.worker || wake < 0) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake, &one, sizeof one);
}

}  // namespace keyrail::parse
