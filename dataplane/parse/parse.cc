// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/parse.h"

#include "dataplane/parse/arrivals.h"
#include "dataplane/parse/blade_ends.h"
#include "dataplane/rewrite/answers.h"
#include "dataplane/wire/arrival_frame.h"

namespace keyrail::parse {
namespace {

/// In each of the three loops below: a call of it would be a tenth of an established packet.
[[gnu::always_inline]] inline void read(Packet& packet) {
    packet.decided = false;
    packet.blade = 0;
    if (!parse_usual_headers(packet.frame(), packet.h)) packet.h = parse_headers(packet.frame());
}

void return_to(NextHop hop, Packet& packet) {
    packet.hop = hop;
    if (hop.known()) return packet.decide(Action::forward, Reason::returned);
    packet.decide(Action::punt, Reason::punt_unresolved);  // the kernel resolves and forwards it
}

/// Not of a connection: an agent's word that a session has arrived, or the kernel's.
[[gnu::noinline]] void of_the_backplane(Packet& packet, Context& context) {
    const auto arrival = arrival_in(packet.frame(), packet.h);
    if (!arrival) return packet.decide(Action::punt, Reason::punt_not_service);
    pass_on(*arrival, context);
    packet.decide(Action::drop, Reason::drop_arrival);
}

/// From a blade: what has a VIP as its source goes to the client by the kernel's routes, without any state of
/// ours.
void from_back(Burst& burst, Context& context) {
    std::array<Packet*, kBurst> returned;  // by IPv4
    std::array<uint32_t, kBurst> clients;
    std::array<NextHop, kBurst> hops;
    size_t count = 0;
    for (Packet& packet : burst.all()) {
        read(packet);
        const Headers& h = packet.h;
        const bool ip = h.layout != Layout::not_ip && h.layout != Layout::truncated;
        if (!ip || !context.snapshot->is_vip(h.tuple.source)) {
            of_the_backplane(packet, context);
            continue;
        }
        if (h.flags & (kFin | kRst)) [[unlikely]]
            note_end(packet, context);
        if (h.ipv6) {
            return_to(context.shared.routes->lookup6(h.tuple.destination.data()), packet);
        } else {
            clients[count] = load32_raw(&h.tuple.destination[12]);
            returned[count++] = &packet;
        }
    }
    context.shared.routes->lookup4(std::span(clients).first(count), hops);
    for (size_t i = 0; i < count; i++) return_to(hops[i], *returned[i]);
}

/// Services by destination. Neighbours in a burst are mostly for the same one, which is looked up once.
class Services {
  public:
    explicit Services(const Snapshot& snapshot) : snapshot_(snapshot) {}

    uint16_t find(const Tuple& tuple) {
        if (tuple.destination_port == port_ && same(tuple.destination, address_)) return service_;
        address_ = tuple.destination;
        port_ = tuple.destination_port;
        return service_ = snapshot_.find(address_, port_);
    }

  private:
    const Snapshot& snapshot_;
    Address address_{};
    uint16_t port_ = 0, service_ = kNoService;
};

/// The service that it is for. kNoService: it is the kernel's, or decided about.
uint16_t service_of(Packet& packet, Services& services, const Snapshot& snapshot) {
    const Headers& h = packet.h;
    if (h.layout == Layout::tcp || h.layout == Layout::icmp_error) [[likely]]
        return services.find(h.tuple);
    if (h.layout == Layout::truncated) packet.decide(Action::drop, Reason::drop_truncated);
    if (h.layout == Layout::fragment && snapshot.is_vip(h.tuple.destination))
        packet.decide(Action::drop, Reason::drop_fragment);
    return kNoService;
}

/// For no service: refused, where it is for a VIP, else the kernel's.
[[gnu::noinline]] void without_service(Packet& packet, Context& context) {
    if (packet.decided) return;
    const bool addressed = packet.h.layout == Layout::tcp || packet.h.layout == Layout::other_ip;
    const Vip* vip = addressed ? context.snapshot->vip(packet.h.tuple.destination) : nullptr;
    if (vip != nullptr && !is_to(packet.data, context.port_macs[packet.port]))
        return packet.decide(Action::drop, Reason::drop_other_mac);
    if (vip != nullptr) to_bare_vip(packet, *vip, context);
    if (!packet.decided) packet.decide(Action::punt, Reason::punt_not_service);
}

/// Workers on ports that do not spread flows themselves hand over what is not theirs.
void from_front(Burst& burst, Context& context) {
    const bool sharing = context.shared.workers > 1 && !context.ports.list[burst.packets[0].port].rss;
    Services services(*context.snapshot);
    for (Packet& packet : burst.all()) {
        read(packet);
        packet.service = service_of(packet, services, *context.snapshot);
        if (packet.service == kNoService) {
            without_service(packet, context);
            continue;
        }
        packet.hash = context.flow_hash(packet.h);
        if (sharing && owner_of(packet.hash, context.shared.workers) != context.worker)
            packet.decide(Action::handoff, Reason::handed_over);
        else
            context.flows.prefetch(packet.hash);
    }
}

/// Nothing is ours yet; ARP, ND and the control plane must work all the same.
void all_to_kernel(Burst& burst) {
    for (Packet& packet : burst.all()) {
        read(packet);
        packet.decide(Action::punt, Reason::punt_not_service);
    }
}

}  // namespace

void process(Burst& burst, Context& context) {
    if (burst.count == 0) return;
    if (context.snapshot == nullptr) return all_to_kernel(burst);
    const bool front = context.ports.list[burst.packets[0].port].role == PortRole::front;
    front ? from_front(burst, context) : from_back(burst, context);
}

}  // namespace keyrail::parse
