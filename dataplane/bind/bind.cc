// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/bind.h"

#include <optional>

#include "dataplane/bind/syn_cookie.h"
#include "dataplane/rewrite/l2.h"

namespace keyrail::bind {
namespace {

bool bare_ack(const Headers& h) { return h.payload_size == 0 && !(h.flags & (kSyn | kFin | kRst)); }

// --- known flows
// ---------------------------------------------------------------------------------------------

/// True when the flow has a blade that still lives. A flow of a dead blade is bound anew, as if it were
/// unknown.
bool established(Packet& packet, Context& context) {
    FlowTable::Entry* flow = context.flows.find(packet.hash, context.clock.s);
    if (flow == nullptr || context.snapshot->blades[flow->blade].state <= BladeState::down) return false;
    flow->last_seen_s = context.clock.s;
    const bool syn = packet.h.flags & kSyn;
    // A SYN on a flow in the table is forwarded natively: the blade may have the old connection in TIME_WAIT,
    // and only its own kernel can answer that (facts: a dispatcher-answered SYN would hang).
    if (syn) flow->closed = 0;
    if (packet.h.flags & (kFin | kRst)) flow->closed = 1;
    packet.forward_to(flow->blade, syn ? Reason::flow_syn : Reason::flow);
    return true;
}

/// By Maglev of the connection, without remembering it.
void by_tuple(Packet& packet, const Context& context, Reason reason) {
    const Maglev& ring = context.service(packet.service).ring;
    if (ring.empty()) return packet.decide(Action::drop, Reason::drop_no_blade);
    packet.forward_to(ring.at(packet.hash), reason);
}

/// Plain layer 4. The first packet after the SYN makes the entry, so that a SYN flood makes none.
void plain(Packet& packet, Context& context) {
    if (established(packet, context)) return;
    by_tuple(packet, context, Reason::steer_tuple);
    if (packet.action == Action::forward && !(packet.h.flags & (kSyn | kRst)))
        context.flows.insert(packet.hash, packet.blade, context.clock.s);
}

// --- SYN
// -----------------------------------------------------------------------------------------------------

void answer(Packet& packet, const Context& context) {
    const Snapshot& snapshot = *context.snapshot;
    if (context.service(packet.service).ring.empty())
        return packet.decide(Action::drop, Reason::drop_no_blade);
    const std::span<uint8_t> room = room_for(packet, kSynAckMax);
    if (room.empty()) return packet.decide(Action::drop, Reason::drop_no_memory);
    const uint8_t key = snapshot.cookie_key;
    set_size(packet, answer_syn(room, packet.h, snapshot.cookie_keys[key], key, context.clock.tai_ms));
    packet.decide(Action::reply, Reason::syn_cookie);
}

// --- first data
// ----------------------------------------------------------------------------------------------

/// Takes from the hello what steering needs: spans into the packet would not survive the burst.
void describe(PendingHello& pending, const ClientHello& hello) {
    pending.name_count = static_cast<uint8_t>(session_names(hello, pending.names));
    pending.tls_version = hello.has_psk ? 0x0304 : 0x0303;
    // TLS 1.3 clients fill session_id with random bytes (RFC 8446 appendix D.4): that is no foreign name.
    const bool named = hello.has_psk || (!hello.offers_tls13 && !hello.session_id.empty());
    pending.unnamed = named ? Reason::steer_foreign : Reason::steer_new;
}

/// What the stream so far says. nullopt: more is needed, `wanted` = stream bytes.
std::optional<PendingHello> read_stream(Bytes stream, uint32_t& wanted, Context& context) {
    ClientHello hello;
    const HelloResult result = parse_client_hello(stream, context.scratch, hello);
    PendingHello pending;
    switch (result.status) {
        case HelloStatus::complete:
            describe(pending, hello);
            return pending;
        case HelloStatus::not_tls:
            pending.unnamed = Reason::steer_not_tls;
            return pending;
        case HelloStatus::malformed:
            pending.unnamed = Reason::steer_malformed;
            return pending;
        case HelloStatus::need_more:
            break;
    }
    wanted = result.offset;
    if (wanted <= kHelloLimit) return std::nullopt;
    pending.unnamed = Reason::steer_incomplete;
    return pending;
}

void add_pending(Burst& burst, PendingHello pending, uint64_t hash, uint16_t service) {
    pending.hash = hash;
    pending.service = service;
    burst.hellos[burst.hello_count++] = pending;
}

void decide_hold(Burst& burst, uint32_t slot, PendingHello pending, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    hold.phase = HoldPhase::deciding;
    pending.hold = slot;
    add_pending(burst, pending, hold.hash, hold.service);
}

void give_up(Burst& burst, uint32_t slot, Reason reason, Context& context) {
    PendingHello pending;
    pending.unnamed = reason;
    decide_hold(burst, slot, pending, context);
}

/// The table is full: the oldest hello that is still incomplete goes on without its name.
void make_room(Burst& burst, Context& context) {
    HoldTable& table = context.holds_table;
    for (uint32_t slot = table.oldest(); slot != kNone; slot = table.at(slot).age_next) {
        if (table.at(slot).phase != HoldPhase::collecting) continue;
        return give_up(burst, slot, Reason::steer_hold_full, context);
    }
}

/// Steers the packet itself, with what is known.
void decide_packet(Burst& burst, Packet& packet, PendingHello pending) {
    pending.packet = static_cast<uint32_t>(&packet - burst.packets.data());
    packet.follows = burst.hello_count;
    add_pending(burst, pending, packet.hash, packet.service);
}

void start_hold(Burst& burst, Packet& packet, uint32_t wanted, Context& context) {
    HoldTable& table = context.holds_table;
    const uint64_t deadline = context.clock.us + context.service(packet.service).hello_timeout_us;
    const uint32_t slot = table.open(packet.hash, packet.h.tuple, packet.service, packet.h.seq, deadline);
    const bool fin = packet.h.flags & kFin;
    if (slot == kNone ||
        table.add(slot, packet.mbuf, packet.h.seq, packet.payload(), fin) != AddResult::added) {
        if (slot != kNone) table.release(slot, [](rte_mbuf*) {});
        make_room(burst, context);  // for the next one; this one is steered at once
        PendingHello pending;
        pending.unnamed = Reason::steer_hold_full;
        return decide_packet(burst, packet, pending);
    }
    table.at(slot).wanted = wanted;
    packet.decide(Action::hold, Reason::hello_rest);
}

/// A FIN alone: some blade has to answer it.
std::optional<PendingHello> closed_without_a_word() {
    PendingHello pending;
    pending.unnamed = Reason::steer_not_tls;
    return pending;
}

/// A segment that proves a handshake with our cookie: the client's first data, or its FIN.
void first_data(Burst& burst, Packet& packet, Context& context) {
    if (packet.h.flags & kRst) return packet.decide(Action::drop, Reason::drop_rst_cookie);
    if (bare_ack(packet.h)) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    uint32_t wanted = 0;
    const auto pending =
        packet.h.payload_size == 0 ? closed_without_a_word() : read_stream(packet.payload(), wanted, context);
    if (pending) return decide_packet(burst, packet, *pending);
    start_hold(burst, packet, wanted, context);
}

// --- further segments of a hold
// ------------------------------------------------------------------------------

/// The client gave up. Its held segments go with it: there is no connection that could miss them.
void abandon(Packet& packet, uint32_t slot, Context& context) {
    context.holds_table.release(slot,
                                [&](rte_mbuf* mbuf) { context.tx.drop(mbuf, Reason::drop_rst_cookie); });
    packet.decide(Action::drop, Reason::drop_rst_cookie);
}

/// Loss, or too much of it: whatever is held goes on, and this packet behind it.
void give_up_with(Burst& burst, Packet& packet, uint32_t slot, Reason reason, Context& context) {
    packet.follows = burst.hello_count;
    give_up(burst, slot, reason, context);
}

void further_segment(Burst& burst, Packet& packet, uint32_t slot, Context& context) {
    HoldTable& table = context.holds_table;
    if (packet.h.flags & kRst) return abandon(packet, slot, context);
    if (bare_ack(packet.h)) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    const bool collecting = table.at(slot).phase == HoldPhase::collecting;
    switch (table.add(slot, packet.mbuf, packet.h.seq, packet.payload(), packet.h.flags & kFin)) {
        case AddResult::duplicate:
            if (!collecting) return packet.decide(Action::drop, Reason::drop_duplicate);
            return give_up_with(burst, packet, slot, Reason::steer_incomplete, context);
        case AddResult::full:
            // While the session moves nothing is given up: TCP sends this segment again.
            if (!collecting) return packet.decide(Action::drop, Reason::drop_no_memory);
            return give_up_with(burst, packet, slot, Reason::steer_incomplete, context);
        case AddResult::added:
            packet.decide(Action::hold, Reason::hello_rest);
            break;
    }
    Hold& hold = table.at(slot);
    if (!collecting || table.contiguous(slot) < hold.wanted) return;
    uint32_t wanted = 0;
    const auto pending = read_stream(table.assemble(slot, context.stream), wanted, context);
    if (pending) return decide_hold(burst, slot, *pending, context);
    hold.wanted = wanted;
}

/// Is this a later packet of a connection whose first one this burst is about to steer?
bool follows_pending(Burst& burst, Packet& packet) {
    for (uint32_t i = 0; i < burst.hello_count; i++) {
        const PendingHello& pending = burst.hellos[i];
        if (pending.hash != packet.hash || pending.packet == kNone) continue;
        packet.follows = i;
        return true;
    }
    return false;
}

void unknown_flow(Burst& burst, Packet& packet, Context& context) {
    if ((packet.h.flags & (kSyn | kAck | kRst)) == kSyn) return answer(packet, context);
    if (const uint32_t slot = context.holds_table.find(packet.hash, packet.h.tuple); slot != kNone)
        return further_segment(burst, packet, slot, context);
    if (follows_pending(burst, packet)) return;
    if ((packet.h.flags & kAck) &&
        cookie_acknowledged(packet.frame(), packet.h, context.snapshot->cookie_keys))
        return first_data(burst, packet, context);
    by_tuple(packet, context, Reason::steer_midstream);
}

}  // namespace

void process(Burst& burst, Context& context) {
    for (Packet& packet : burst.all()) {
        if (packet.decided) continue;
        if (!context.service(packet.service).by_session) {
            plain(packet, context);
        } else if (!established(packet, context)) {
            unknown_flow(burst, packet, context);
        }
    }
}

void release(uint32_t slot, uint16_t blade, Reason reason, Context& context) {
    const Hold& hold = context.holds_table.at(slot);
    const NextHop hop = context.shared.blade_hop[blade].load();
    context.flows.insert(hold.hash, blade, context.clock.s);
    context.stats.blade_flows[blade].add();
    context.holds_table.release(slot, [&](rte_mbuf* mbuf) {
        if (!hop.known) return context.tx.drop(mbuf, Reason::drop_blade_unresolved);
        rewrite_l2(mbuf, hop, context.ports);
        context.tx.send(hop.port, mbuf);
        context.stats.count(std::exchange(reason, Reason::hello_rest));
    });
}

void expire(Burst& burst, Context& context) {
    context.holds_table.expire(context.clock.us, [&](uint32_t slot) {
        Hold& hold = context.holds_table.at(slot);
        if (hold.phase == HoldPhase::moving)
            return release(slot, hold.target, Reason::steer_move_late, context);
        if (hold.phase == HoldPhase::deciding) return;
        if (burst.hello_count < kBurst) return give_up(burst, slot, Reason::steer_incomplete, context);
        context.holds_table.set_deadline(slot,
                                         context.clock.us + 1000);  // more than a burst: the rest in a moment
    });
}

}  // namespace keyrail::bind
