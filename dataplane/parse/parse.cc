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

/// The service that it is for. kNoService: it is the kernel's, or decided about.
uint16_t service_of(Packet& packet, const Context& context) {
    const Headers& h = packet.h;
    const bool fragment = h.layout == Layout::fragment && context.snapshot->is_vip(h.tuple.destination);
    if (h.layout == Layout::truncated) packet.decide(Action::drop, Reason::drop_truncated);
    if (fragment) packet.decide(Action::drop, Reason::drop_fragment);
    if (h.layout != Layout::tcp && h.layout != Layout::icmp_error) return kNoService;
    return context.snapshot->find(h.tuple.destination, h.tuple.destination_port);
}

void from_front(Packet& packet, const Context& context) {
    packet.service = service_of(packet, context);
    if (packet.service == kNoService) {
        if (!packet.decided) packet.decide(Action::punt, Reason::punt_not_service);
        return;
    }
    packet.hash = context.flow_hash(packet.h);
    if (context.shared.workers > 1 && !context.ports.list[packet.port].rss &&
        owner(packet.hash, context.shared.workers) != context.worker)
        return packet.decide(Action::handoff, Reason::handed_over);
    context.flows.prefetch(packet.hash);
}

}  // namespace

void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) {
        packet.decided = false;
        packet.blade = 0;
        packet.follows = kNone;
        packet.hop = {};
        if (!parse_usual_headers(packet.frame(), packet.h)) packet.h = parse_headers(packet.frame());
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
