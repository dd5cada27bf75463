// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/release.h"

#include <rte_mbuf.h>

#include "dataplane/rewrite/egress.h"

namespace keyrail::bind {
namespace {

/// A hello that a blade gets while we read it: longer than the first retransmissions (RFC 6298: 1 s, 2 s).
constexpr uint64_t kReadOnUs = 4'000'000;

/// False: there is nobody who could make room.
bool make_room(uint32_t spared, Context& context) {
    const uint32_t slot = context.holds_table.oldest(spared);
    if (slot == kNone) return false;
    const Hold& hold = context.holds_table.at(slot);
    const uint16_t service = context.service_at(hold.tuple);
    if (hold.bound != 0) {
        stop_reading(slot, context);
    } else if (service == kNoService) {
        drop_hold(slot, Reason::drop_service_gone, context);
    } else if (const Maglev& ring = context.pool(service).ring; ring.empty()) {
        drop_hold(slot, Reason::drop_no_blade, context);
    } else {
        release(slot, ring.at(hold.hash), Reason::steer_hold_full, context);
    }
    return true;
}

uint32_t open(const Packet& packet, Seq first_seq, Context& context) {
    return context.holds_table.open(packet.hash, packet.h.tuple, first_seq, context.clock.us);
}

/// May the connection go there, by the tables of now?
bool may_go_to(BladeId blade, const Hold& hold, const Context& context) {
    const BladeEntry& entry = context.snapshot->blades[blade];
    if (hold.bound != 0) return blade == hold.bound && entry.flows_live;
    if (!entry.takes_new()) return false;
    const uint16_t service = context.service_at(hold.tuple);
    return service != kNoService && context.service(service).has_member(blade);
}

/// A client has waited for its session.
void count_wait(const Hold& hold, Context& context) {
    const uint16_t service = context.service_at(hold.tuple);
    ServiceHoldWaits* const known =
        service == kNoService ? nullptr : context.stats.hold_waits.make(context.service(service).id);
    if (known == nullptr) return;
    HoldWaits& waits = (*known)[tls_index(hold.tls_version)];
    const uint64_t waited_us = context.clock.us - hold.since_us;
    waits.waited.add(waited_us);
    if (hold.saving_us == 0) return;
    waits.saving.add(hold.saving_us);
    if (waited_us > hold.saving_us) waits.longer.add();
}

}  // namespace

AddResult add_if_room(uint32_t slot, const Packet& packet, Context& context) {
    const bool fin = (packet.h.flags & kFin) != 0;
    return context.holds_table.add(slot, packet.mbuf, packet.h.seq, packet.payload(), fin);
}

void wait_behind(Packet& packet, AddResult result) {
    switch (result) {
        case AddResult::added:
            return packet.decide(Action::hold, Reason::hello_rest);
        case AddResult::duplicate:
            return packet.decide(Action::drop, Reason::drop_duplicate);
        case AddResult::out_of_window:
            return packet.decide(Action::drop, Reason::drop_out_of_window);
        case AddResult::too_many:
        case AddResult::no_segment:  // nothing is given up: TCP sends this segment again
            return packet.decide(Action::drop, Reason::drop_no_memory);
    }
}

uint32_t open_hold(const Packet& packet, Seq first_seq, Context& context) {
    uint32_t slot = open(packet, first_seq, context);
    if (slot == kNone && make_room(kNone, context)) slot = open(packet, first_seq, context);
    if (slot == kNone || add_segment(slot, packet, context) == AddResult::added) return slot;
    drop_hold(slot, Reason::drop_no_memory, context);  // it is empty
    return kNone;
}

AddResult add_segment(uint32_t slot, const Packet& packet, Context& context) {
    const AddResult result = add_if_room(slot, packet, context);
    if (result != AddResult::no_segment || !make_room(slot, context)) return result;
    return add_if_room(slot, packet, context);
}

void release(uint32_t slot, BladeId blade, Reason reason, Context& context) {
    const Hold& hold = context.holds_table.at(slot);
    const auto send = [&](rte_mbuf* mbuf) {
        egress::release(mbuf, blade, std::exchange(reason, Reason::hello_rest), context);
    };
    if (hold.bound == 0) context.stats.blade_flows[blade].add();
    if (hold.read_on) {
        context.holds_table.pass_on(slot, [&](rte_mbuf* mbuf) {
            rte_mbuf_refcnt_update(mbuf, 1);
            send(mbuf);
        });
        return read_on(slot, blade, context);
    }
    context.flows.insert(hold.hash, Flow(context.clock.ticks, blade, hold.base + hold.reached))->client_done =
        hold.fin;
    context.holds_table.release(slot, [&](rte_mbuf* mbuf, bool sent) {
        if (sent) return rte_pktmbuf_free(mbuf);
        send(mbuf);
    });
}

bool end_move(uint32_t slot, BladeId blade, Reason reason, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    count_wait(hold, context);
    if (may_go_to(blade, hold, context)) {
        release(slot, blade, reason, context);
    } else if (hold.bound != 0) {
        drop_hold(slot, Reason::drop_no_blade, context);
    } else {
        hold.target = 0;
        context.holds_table.set_deadline(slot, context.clock.us);
        return false;
    }
    return true;
}

void read_on(uint32_t slot, BladeId blade, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    context.flows.insert(hold.hash, Flow(context.clock.ticks, blade, hold.base + hold.reached))->hello_due =
        true;
    hold.bound = blade;
    hold.read_on = false;
    hold.phase = HoldPhase::collecting;
    context.holds_table.set_deadline(slot, context.clock.us + kReadOnUs);
}

void stop_reading(uint32_t slot, Context& context) {
    Flow* flow = context.flows.find(context.holds_table.at(slot).hash, context.clock.ticks);
    if (flow != nullptr) flow->hello_due = false;
    context.holds_table.release(slot, [](rte_mbuf* mbuf, bool) { rte_pktmbuf_free(mbuf); });
}

void drop_hold(uint32_t slot, Reason reason, Context& context, const rte_mbuf* spared) {
    context.holds_table.release(slot, [&](rte_mbuf* mbuf, bool sent) {
        if (mbuf == spared) return;
        if (sent) return rte_pktmbuf_free(mbuf);
        egress::drop(mbuf, reason, context);
    });
}

}  // namespace keyrail::bind
