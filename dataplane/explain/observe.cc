// SPDX-License-Identifier: Apache-2.0
#include "dataplane/explain/observe.h"

namespace keyrail::explain {

Observed observe(const Headers& connection, Context& context) {
    Observed seen{.made = true,
                  .worker = context.worker,
                  .clock = context.clock,
                  .mtus = context.mtus,
                  .began_tai_ms = context.began_tai_ms,
                  .alone_at_us = context.alone_at_us};
    const uint64_t hash = context.flow_hash(connection);
    const uint16_t index = context.snapshot == nullptr ? kNoService : context.service_at(connection.tuple);
    if (index == kNoService) return seen;
    const Service& service = context.service(index);
    if (const Flow* flow = context.flows.find(hash, context.clock.ticks, service.idle_ticks); flow != nullptr)
        seen.flow = *flow;
    seen.recent_syn = context.recent_syns.blade(hash, context.clock.s);
    seen.bare_syn = context.bare_syns.blade(hash, context.clock.s) != 0;
    seen.many_guesses = context.guesses.too_many(service.id, context.clock.s);
    if (const uint32_t slot = context.holds_table.find(hash, connection.tuple); slot != kNone) {
        seen.hold = context.holds_table.at(slot).phase;
        seen.hold_target = context.holds_table.at(slot).target;
    }
    return seen;
}

}  // namespace keyrail::explain
