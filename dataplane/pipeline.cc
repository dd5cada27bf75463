// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline.h"

#include <rte_ring.h>

#include "dataplane/bind/bind.h"
#include "dataplane/parse/parse.h"
#include "dataplane/rewrite/l2.h"
#include "dataplane/steer/steer.h"

namespace keyrail {
namespace {

void forward(Packet& packet, Context& context) {
    const NextHop hop = packet.blade != 0 ? context.shared.blade_hop[packet.blade].load() : packet.hop;
    if (!hop.known()) return context.tx.drop(packet.mbuf, Reason::drop_blade_unresolved);
    const bool untagged = packet.h.l3 == kEthernetSize && hop.tags() == 0;
    if (untagged) [[likely]]
        write_macs(packet.data, hop, context);
    else if (!rewrite_l2(packet.mbuf, hop, context))
        return context.tx.drop(packet.mbuf, Reason::drop_no_memory);
    context.tx.send(hop.port(), packet.mbuf);
    context.stats.count(packet.reason);
}

/// The other worker parses again: cheaper than carrying what we know across cores.
void hand_over(Packet& packet, Context& context) {
    const uint16_t owner = parse::owner(packet.hash, context.shared.workers);
    if (rte_ring_enqueue(context.shared.handoff[owner], packet.mbuf) != 0)
        return context.tx.drop(packet.mbuf, Reason::drop_handoff_full);
    context.stats.count(packet.reason);
}

void finish(Packet& packet, Context& context) {
    switch (packet.action) {
        case Action::forward:
            return forward(packet, context);
        case Action::drop:
            return context.tx.drop(packet.mbuf, packet.reason);
        case Action::hold:
            return;  // counted when it is released
        case Action::handoff:
            return hand_over(packet, context);
        case Action::reply:
            context.tx.send(packet.port, packet.mbuf);
            break;
        case Action::punt:
            context.tx.punt(packet.port, packet.mbuf);
            break;
    }
    context.stats.count(packet.reason);
}

}  // namespace

void run_pipeline(Burst& burst, Context& context) {
    burst.forget_hellos();
    parse::process(burst, context);
    bind::process(burst, context);
    steer::process(burst, context);
    for (Packet& packet : burst.all()) finish(packet, context);
}

void run_timers(Burst& burst, Context& context) {
    burst.count = 0;
    burst.forget_hellos();
    bind::expire(burst, context);
    steer::process(burst, context);
}

}  // namespace keyrail
