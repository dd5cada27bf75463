// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/egress.h"

#include <rte_ring.h>

namespace keyrail::egress {
namespace {

void send_on(Packet& packet, Context& context) {
    const NextHop hop = packet.blade != 0 ? context.shared.blade_hop[packet.blade].load() : packet.hop;
    forward(packet.mbuf, packet.data, packet.h.l3 != kEthernetSize, hop, packet.reason, context);
}

/// The other worker parses again: cheaper than carrying what we know across cores.
void hand_over(Packet& packet, Context& context) {
    const uint16_t owner = owner_of(packet.hash, context.shared.workers);
    if (rte_ring_enqueue(context.shared.handoff[owner], packet.mbuf) != 0)
        return context.tx.drop(packet.mbuf, Reason::drop_handoff_full);
    context.stats.count(packet.reason);
}

void leave(Packet& packet, Context& context) {
    switch (packet.action) {
        case Action::forward:
            return send_on(packet, context);
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

void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) leave(packet, context);
}

}  // namespace keyrail::egress
