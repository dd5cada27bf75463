// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/bind.h"

#include "dataplane/bind/hello.h"
#include "dataplane/bind/release.h"
#include "dataplane/bind/syn_cookie.h"
#include "dataplane/rewrite/l2.h"

namespace keyrail::bind {
namespace {

using Flow = FlowTable::Entry;

bool is_syn(const Headers& h) { return (h.flags & (kSyn | kAck | kRst)) == kSyn; }

/// By Maglev of the connection, without remembering it.
void by_tuple(Packet& packet, const Context& context, Reason reason) {
    const Maglev& ring = context.pool(packet.service).ring;
    if (ring.empty()) return packet.decide(Action::drop, Reason::drop_no_blade);
    packet.forward_to(ring.at(packet.hash), reason);
}

/// The flow, if its blade can still have it. A flow of a dead blade is bound anew, as if it were unknown; so
/// is a closed one of a blade that gets nothing new.
Flow* live_flow(const Packet& packet, Context& context) {
    Flow* flow = context.flows.find(packet.hash, context.clock.s);
    if (flow == nullptr) return nullptr;
    const BladeState state = context.snapshot->blades[flow->blade].state;
    if (state <= BladeState::down) return nullptr;
    if (state == BladeState::draining && flow->closed && is_syn(packet.h)) {
        context.flows.erase(packet.hash);
        return nullptr;
    }
    flow->last_seen_s = context.clock.s;
    return flow;
}

/// A SYN on a flow in the table goes to its blade natively: that may have the old connection in TIME_WAIT,
/// and only its own kernel can answer that (facts: a dispatcher-answered SYN would hang). So the connection
/// is bound before its hello is seen, and the key will have to follow the flow.
void reopen(Packet& packet, Flow& flow) {
    flow.closed = 0;
    flow.hello_due = 1;
    packet.forward_to(flow.blade, Reason::flow_syn);
}

/// First data of a connection that its blade accepted natively.
void hello_of_bound(Burst& burst, Packet& packet, const Flow& flow, Context& context) {
    if (const uint32_t slot = context.holds_table.find(packet.hash, packet.h.tuple); slot != kNone)
        return further_segment(burst, packet, slot, context);
    if (!follows_pending(burst, packet)) first_data(burst, packet, flow.blade, context);
}

void known_flow(Burst& burst, Packet& packet, Flow& flow, Context& context) {
    if (is_syn(packet.h)) return reopen(packet, flow);
    if (packet.h.flags & (kFin | kRst)) flow.closed = 1;
    if (flow.hello_due && context.service(packet.service).by_session && !(packet.h.flags & kRst) &&
        !packet.h.bare_ack())
        return hello_of_bound(burst, packet, flow, context);
    packet.forward_to(flow.blade, Reason::flow);
}

/// A connection that is not in the flow table, bound without its hello: Maglev says the blade at the SYN, and
/// what follows goes where the SYN went, though the ring may have changed meanwhile.
void by_syn(Packet& packet, Context& context, Reason reason) {
    if (!is_syn(packet.h)) {
        const uint16_t blade = context.recent_syns.blade(packet.hash, context.clock.s);
        if (blade != 0 && context.snapshot->blades[blade].state > BladeState::down)
            return packet.forward_to(blade, reason);
    }
    by_tuple(packet, context, reason);
    if (is_syn(packet.h) && packet.action == Action::forward)
        context.recent_syns.note(packet.hash, packet.blade, context.clock.s);
}

/// Plain layer 4. The first packet after the SYN makes the entry, so that a SYN flood makes none.
void plain(Packet& packet, Context& context) {
    by_syn(packet, context, Reason::steer_tuple);
    if (packet.action == Action::forward && !(packet.h.flags & (kSyn | kRst)))
        context.flows.insert(packet.hash, packet.blade, context.clock.s);
}

/// Early binding. The handshake's last packet makes the entry: a SYN flood makes none. The hello comes on a
/// bound connection, the key follows it.
void bind_early(Burst& burst, Packet& packet, Context& context) {
    by_syn(packet, context, Reason::bind_early);
    if (packet.action != Action::forward || (packet.h.flags & kRst)) return;
    Flow* flow = context.flows.insert(packet.hash, packet.blade, context.clock.s);
    flow->hello_due = 1;
    if (packet.h.bare_ack()) return;
    packet.decided = false;
    known_flow(burst, packet, *flow, context);
}

void answer(Packet& packet, const Context& context) {
    const Snapshot& snapshot = *context.snapshot;
    if (!context.service(packet.service).served) return packet.decide(Action::drop, Reason::drop_no_blade);
    const std::span<uint8_t> room = room_for(packet, kSynAckMax);
    if (room.empty()) return packet.decide(Action::drop, Reason::drop_no_memory);
    const uint8_t key = snapshot.cookie_key;
    set_size(packet, answer_syn(room, packet.h, snapshot.cookie_keys[key], key, context.clock.tai_ms));
    packet.decide(Action::reply, Reason::syn_cookie);
}

/// A segment that proves a handshake with our cookie.
void handshake_done(Burst& burst, Packet& packet, Context& context) {
    if (packet.h.flags & kRst) return packet.decide(Action::drop, Reason::drop_rst_cookie);
    if (packet.h.bare_ack()) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    first_data(burst, packet, 0, context);
}

void unknown_flow(Burst& burst, Packet& packet, Context& context) {
    const bool late = context.service(packet.service).late;
    if (is_syn(packet.h)) return late ? answer(packet, context) : by_syn(packet, context, Reason::bind_early);
    if (const uint32_t slot = context.holds_table.find(packet.hash, packet.h.tuple); slot != kNone) {
        const Hold& hold = context.holds_table.at(slot);
        if (hold.bound == 0 || hold.phase == HoldPhase::deciding)
            return further_segment(burst, packet, slot, context);
        drop_hold(slot, Reason::drop_no_blade, context);  // its blade went down: bound anew
    }
    if (follows_pending(burst, packet)) return;
    const auto& keys = context.snapshot->cookie_keys;
    if ((packet.h.flags & kAck) && cookie_acknowledged(packet.frame(), packet.h, keys))
        return handshake_done(burst, packet, context);
    if (late && packet.h.payload_size > 0 && (packet.h.flags & (kAck | kRst)) == kAck)
        if (const auto first = overtaken_seq(packet.frame(), packet.h, keys))
            return overtaking_segment(burst, packet, *first, context);
    if (!late) return bind_early(burst, packet, context);
    by_tuple(packet, context, Reason::steer_midstream);
}

/// An ICMP error goes to the blade whose connection it is about, like any packet of that (path-MTU discovery,
/// RFC 1191 and 8201); the blade's kernel judges what it quotes (RFC 5927). It does not keep a flow alive.
void icmp_error(Packet& packet, Context& context) {
    const Service& service = context.service(packet.service);
    if (const Flow* flow = context.flows.find(packet.hash, context.clock.s); flow != nullptr)
        return packet.forward_to(flow->blade, Reason::icmp_error);
    if (service.by_session && service.late) return packet.decide(Action::drop, Reason::drop_icmp_unowned);
    by_tuple(packet, context, Reason::icmp_error);
}

}  // namespace

void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) {
        if (packet.decided) continue;
        if (packet.h.layout == Layout::icmp_error) {
            icmp_error(packet, context);
        } else if (Flow* flow = live_flow(packet, context); flow != nullptr) {
            known_flow(burst, packet, *flow, context);
        } else if (context.service(packet.service).by_session) {
            unknown_flow(burst, packet, context);
        } else {
            plain(packet, context);
        }
    }
}

}  // namespace keyrail::bind
