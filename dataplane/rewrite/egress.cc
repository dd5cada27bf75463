// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/egress.h"

#include <rte_mbuf.h>

#include "dataplane/rewrite/l2.h"
#include "dataplane/rewrite/too_big.h"

namespace keyrail::egress {
namespace {

/// It cannot go where it was to go.
template <Tracing tracing>
void give_up(rte_mbuf* mbuf, Reason reason, Context& context) {
    if constexpr (tracing == Tracing::on) context.trace.stopped(mbuf, Stage::egress);
    context.tx.drop<tracing>(mbuf, reason);
}

/// It is longer than its link carries. Its sender is told by the port that it came from.
template <Tracing tracing>
[[gnu::noinline]] void too_big(rte_mbuf* mbuf, TooBig what, Context& context) {
    if (what == TooBig::unanswered) return give_up<tracing>(mbuf, Reason::drop_too_big, context);
    if constexpr (tracing == Tracing::on) context.trace.stopped(mbuf, Stage::egress);
    const uint8_t port = context.ports.index_of(mbuf->port);
    context.tx.send<tracing>(Action::reply, port, mbuf, Reason::too_big_answered);
}

/// A frame to its next hop, or dropped where that is not known. `tagged`: it has VLAN tags.
template <Tracing tracing>
[[gnu::always_inline]] inline void forward(rte_mbuf* mbuf, uint8_t* ethernet, bool tagged, NextHop hop,
                                           Reason reason, Context& context) {
    if (!hop.known()) return give_up<tracing>(mbuf, Reason::drop_blade_unresolved, context);
    if (mbuf->pkt_len > context.mtus.longest_frame[hop.port()]) [[unlikely]]
        if (const TooBig what = answer_too_big(mbuf, hop, context); what != TooBig::fits)
            return too_big<tracing>(mbuf, what, context);
    if (!tagged && hop.tags() == 0) [[likely]]
        write_macs(ethernet, hop, context);
    else if (!rewrite_l2(mbuf, hop, context))
        return give_up<tracing>(mbuf, Reason::drop_no_memory, context);
    context.tx.send<tracing>(Action::forward, hop.port(), mbuf, reason);
}

template <Tracing tracing>
void send_on(Packet& packet, Context& context) {
    const NextHop hop = packet.blade != 0 ? context.shared.blade_hop[packet.blade].load() : packet.hop;
    forward<tracing>(packet.mbuf, packet.data, packet.h.l3 != kEthernetSize, hop, packet.reason, context);
}

/// The other worker parses again: cheaper than carrying what we know across cores.
template <Tracing tracing>
void hand_over(Packet& packet, Context& context) {
    const uint16_t owner = owner_of(packet.hash, context.shared.workers);
    context.tx.hand_over<tracing>(context.shared.handoff[owner], packet.mbuf, packet.reason);
}

template <Tracing tracing>
void leave(Packet& packet, Context& context) {
    switch (packet.action) {
        case Action::forward:
            return send_on<tracing>(packet, context);
        case Action::drop:
            return context.tx.drop<tracing>(packet.mbuf, packet.reason);
        case Action::hold:
            return;  // it ends when it is released
        case Action::handoff:
            return hand_over<tracing>(packet, context);
        case Action::reply:
            return context.tx.send<tracing>(Action::reply, packet.port, packet.mbuf, packet.reason);
        case Action::punt:
            return context.tx.punt<tracing>(packet.port, packet.mbuf, packet.reason);
    }
}

template <Tracing tracing>
void release_held(rte_mbuf* mbuf, BladeId blade, Reason reason, Context& context) {
    if constexpr (tracing == Tracing::on) context.trace.left_hold(mbuf, blade);
    auto* ethernet = rte_pktmbuf_mtod(mbuf, uint8_t*);
    forward<tracing>(mbuf, ethernet, is_tag(ethernet + 12), context.shared.blade_hop[blade].load(), reason,
                     context);
}

template <Tracing tracing>
void from_kernel_to(uint8_t port, std::span<rte_mbuf* const> mbufs, Context& context) {
    for (rte_mbuf* mbuf : mbufs) {
        if constexpr (tracing == Tracing::on) {
            context.trace.begins(mbuf);
            context.trace.decided(mbuf, Stage::egress, Action::forward, Reason::from_kernel, {});
        }
        context.tx.send<tracing>(Action::forward, port, mbuf, Reason::from_kernel);
    }
}

}  // namespace

template <Tracing tracing>
void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) leave<tracing>(packet, context);
}
template void process<Tracing::off>(Burst& burst, Context& context);
template void process<Tracing::on>(Burst& burst, Context& context);

void release(rte_mbuf* mbuf, BladeId blade, Reason reason, Context& context) {
    if (context.trace.on()) [[unlikely]]
        return release_held<Tracing::on>(mbuf, blade, reason, context);
    release_held<Tracing::off>(mbuf, blade, reason, context);
}

void drop(rte_mbuf* mbuf, Reason reason, Context& context) {
    if (!context.trace.on()) [[likely]]
        return context.tx.drop<Tracing::off>(mbuf, reason);
    context.trace.left_hold(mbuf, {});
    context.tx.drop<Tracing::on>(mbuf, reason);
}

void from_kernel(uint8_t port, std::span<rte_mbuf* const> mbufs, Context& context) {
    if (context.trace.on()) [[unlikely]]
        return from_kernel_to<Tracing::on>(port, mbufs, context);
    from_kernel_to<Tracing::off>(port, mbufs, context);
}

}  // namespace keyrail::egress
