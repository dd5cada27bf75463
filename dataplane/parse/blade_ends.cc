// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/blade_ends.h"

#include <rte_ring_elem.h>

#include "dataplane/parse/parse.h"
#include "dataplane/wire/macs.h"

namespace keyrail::parse {

void note_end(const Packet& packet, Context& context) {
    const Tuple& t = packet.h.tuple;
    const uint16_t service = context.snapshot->find(t.source, t.source_port);
    if (service == kNoService) return;
    Headers of_client;
    of_client.ipv6 = packet.h.ipv6;
    of_client.tuple = {t.destination, t.source, t.destination_port, t.source_port};
    FlowEnd end{.hash = context.flow_hash(of_client),
                .mac = read_macs(packet.data).source,
                .service = context.service(service).id,
                .flags = packet.h.flags};
    const uint16_t whose = owner_of(end.hash, context.shared.workers);
    if (whose == context.worker) return flow_ended(end, context);
    // A full ring costs the flow's place for as long as it is idle, nothing else.
    rte_ring* ring = context.shared.flow_ends[whose];
    if (ring != nullptr) rte_ring_enqueue_elem(ring, &end, sizeof end);
}

void flow_ended(const FlowEnd& end, Context& context) {
    const Service* service = context.snapshot != nullptr ? context.snapshot->service(end.service) : nullptr;
    if (service == nullptr) return;
    Flow* flow = context.flows.find(end.hash, context.clock.ticks, service->idle_ticks);
    if (flow == nullptr || context.shared.blade_hop[flow->blade()].load().mac_word() != end.mac) return;
    flow->blade_says(end.flags, context.clock.ticks);
}

}  // namespace keyrail::parse
