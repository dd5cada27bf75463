// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/arrivals.h"

#include "dataplane/core/move_answers.h"

namespace keyrail::parse {

void pass_on(const Arrival& arrival, Context& context) {
    if (arrival.token == 0) return;  // no hold has that one
    const MoveId id(arrival.move_id);
    // Where it cannot be given, keyraild's answer comes, too.
    answer_worker({.move_id = id, .holder = 0, .moved = 1, .token = arrival.token}, context.shared,
                  id.worker() != context.worker);
}

}  // namespace keyrail::parse
