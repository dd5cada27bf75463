// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/parse.h"

namespace keyrail::parse {
namespace {

/// From a blade: what has a VIP as its source goes to the client by the kernel's routes, without any state of
/// ours.
void from_back(Packet& packet, const Context& context) {
    const Headers& h = packet.h;
    const bool ip = h.layout != Layout::not_ip && h.layout != Layout::truncated;
    if (!ip || !context.snapshot->is_vip(h.tuple.source))
        return packet.decide(Action::punt, Reason::punt_not_service);
    const Address& to = h.tuple.destination;
    packet.hop = h.ipv6 ? context.shared.routes->lookup6(to.data())
                        : context.shared.routes->lookup4(load32_raw(&to[12]));
    if (packet.hop.known) return packet.decide(Action::forward, Reason::returned);
    packet.decide(Action::punt, Reason::punt_unresolved);  // the kernel resolves and forwards it
}

void from_front(Packet& packet, const Context& context) {
    const Headers& h = packet.h;
    if (h.layout == Layout::not_ip) return packet.decide(Action::punt, Reason::punt_not_service);
    if (h.layout == Layout::truncated) return packet.decide(Action::drop, Reason::drop_truncated);
    if (h.layout == Layout::fragment && context.snapshot->is_vip(h.tuple.destination))
        return packet.decide(Action::drop, Reason::drop_fragment);
    packet.service = h.layout == Layout::tcp || h.layout == Layout::icmp_error
                         ? context.snapshot->find(h.tuple.destination, h.tuple.destination_port)
                         : kNoService;
    if (packet.service == kNoService) return packet.decide(Action::punt, Reason::punt_not_service);
    packet.hash = context.flow_hash(h.tuple);
    if (context.shared.workers > 1 && !context.ports.list[packet.port].rss &&
        owner(packet.hash, context.shared.workers) != context.worker)
        return packet.decide(Action::handoff, Reason::handed_over);
    context.flows.prefetch(packet.hash);
}

}  // namespace

void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) {
        packet.h = parse_headers(packet.frame());
        if (context.snapshot == nullptr) {
            // Nothing is ours yet; ARP, ND and the control plane must work all the same.
            packet.decide(Action::punt, Reason::punt_not_service);
        } else if (context.ports.list[packet.port].role == PortRole::front) {
            from_front(packet, context);
        } else {
            from_back(packet, context);
        }
    }
}

}  // namespace keyrail::parse
