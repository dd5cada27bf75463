// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steer/steer.h"

#include "dataplane/steer/decide.h"
#include "dataplane/tables/moved_table.h"

namespace keyrail::steer {
namespace {

/// Who has the sessions of all these hellos: one look-up for a burst, which prefetches its buckets.
void find_holders(std::span<PendingHello> hellos, const Context& context) {
    std::array<const SessionName*, kBurst> names;
    std::array<BladeId, kBurst> holders;
    std::array<PendingHello*, kBurst> named;
    size_t count = 0;
    for (PendingHello& hello : hellos) {
        hello.holder = home_of(hello.facts);
        if (hello.holder.blade == 0) continue;  // not ours, so nobody moved it either
        named[count] = &hello;
        names[count++] = &hello.facts.names[hello.holder.name];
    }
    if (count == 0) return;
    context.shared.moved->find(std::span(names).first(count), context.clock.unix_s, holders);
    for (size_t i = 0; i < count; i++) {
        if (holders[i] == 0) continue;
        named[i]->holder.blade = holders[i];
        named[i]->holder.moved = true;
    }
}

}  // namespace

void process(Burst& burst, Context& context) {
    if (burst.hello_count == 0) return;
    context.names->decrypt(burst.pending(), *context.snapshot, context.stats);
    find_holders(burst.pending(), context);
    const bool control_up = context.shared.control_connected.load(std::memory_order_relaxed);
    for (PendingHello& hello : burst.pending())
        hello.decision = decide(hello.facts, *context.snapshot, hello.holder, control_up);
}

}  // namespace keyrail::steer
