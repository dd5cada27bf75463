// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/hello.h"

#include <optional>

namespace keyrail::bind {
namespace {

/// Takes from the hello what steering needs: spans into the packet would not survive the burst.
void describe(PendingHello& pending, const ClientHello& hello) {
    pending.name_count = static_cast<uint8_t>(session_names(hello, pending.names));
    pending.tls_version = hello.has_psk ? 0x0304 : 0x0303;
    // TLS 1.3 clients fill session_id with random bytes (RFC 8446 appendix D.4): that is no foreign name.
    const bool named = hello.has_psk || (!hello.offers_tls13 && !hello.session_id.empty());
    pending.unnamed = named ? Reason::steer_foreign : Reason::steer_new;
}

PendingHello nameless(Reason reason) {
    PendingHello pending;
    pending.unnamed = reason;
    return pending;
}

/// What the stream so far says. nullopt: more is needed, `wanted` = stream bytes.
std::optional<PendingHello> read_stream(Bytes stream, uint32_t& wanted, Context& context) {
    ClientHello hello;
    const HelloResult result = parse_client_hello(stream, context.scratch, hello);
    switch (result.status) {
        case HelloStatus::complete: {
            PendingHello pending;
            describe(pending, hello);
            return pending;
        }
        case HelloStatus::not_tls:
            return nameless(Reason::steer_not_tls);
        case HelloStatus::malformed:
            return nameless(Reason::steer_malformed);
        case HelloStatus::need_more:
            break;
    }
    wanted = result.offset;
    if (wanted > kHelloLimit) return nameless(Reason::steer_incomplete);
    return std::nullopt;
}

/// Steers the packet itself, with what is known.
void decide_packet(Burst& burst, Packet& packet, uint16_t bound, PendingHello pending) {
    pending.packet = static_cast<uint32_t>(&packet - burst.packets.data());
    pending.hash = packet.hash;
    pending.service = packet.service;
    pending.bound = bound;
    packet.follows = burst.hello_count;
    burst.add_hello(pending);
}

void decide_hold(Burst& burst, uint32_t slot, PendingHello pending, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    hold.phase = HoldPhase::deciding;
    pending.hold = slot;
    pending.hash = hold.hash;
    pending.service = hold.service;
    pending.bound = hold.bound;
    burst.add_hello(pending);
}

/// The table is full: the oldest hello that is still incomplete goes on without its name.
void make_room(Burst& burst, Context& context) {
    HoldTable& table = context.holds_table;
    for (uint32_t slot = table.oldest(); slot != kNone; slot = table.at(slot).age_next) {
        if (table.at(slot).phase != HoldPhase::collecting) continue;
        return give_up(burst, slot, Reason::steer_hold_full, context);
    }
}

void start_hold(Burst& burst, Packet& packet, uint16_t bound, uint32_t wanted, Context& context) {
    HoldTable& table = context.holds_table;
    const uint64_t deadline = context.clock.us + context.service(packet.service).hello_timeout_us;
    const uint32_t slot = table.open_with(packet, deadline);
    if (slot == kNone) {
        make_room(burst, context);  // for the next one; this one is steered at once
        return decide_packet(burst, packet, bound, nameless(Reason::steer_hold_full));
    }
    table.at(slot).wanted = wanted;
    table.at(slot).bound = bound;
    packet.decide(Action::hold, Reason::hello_rest);
}

/// The client gave up. Its held segments go with it: there is no connection that could miss them.
void abandon(Packet& packet, uint32_t slot, Context& context) {
    const auto drop = [&](rte_mbuf* mbuf) { context.tx.drop(mbuf, Reason::drop_rst_cookie); };
    context.holds_table.release(slot, drop);
    packet.decide(Action::drop, Reason::drop_rst_cookie);
}

/// Loss, or too much of it: whatever is held goes on, and this packet behind it.
void give_up_with(Burst& burst, Packet& packet, uint32_t slot, Context& context) {
    packet.follows = burst.hello_count;
    give_up(burst, slot, Reason::steer_incomplete, context);
}

}  // namespace

void first_data(Burst& burst, Packet& packet, uint16_t bound, Context& context) {
    if (packet.h.payload_size == 0)  // a FIN alone: some blade has to answer it
        return decide_packet(burst, packet, bound, nameless(Reason::steer_not_tls));
    uint32_t wanted = 0;
    if (const auto pending = read_stream(packet.payload(), wanted, context))
        return decide_packet(burst, packet, bound, *pending);
    start_hold(burst, packet, bound, wanted, context);
}

void further_segment(Burst& burst, Packet& packet, uint32_t slot, Context& context) {
    HoldTable& table = context.holds_table;
    if (packet.h.flags & kRst) return abandon(packet, slot, context);
    if (packet.h.bare_ack()) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    const bool collecting = table.at(slot).phase == HoldPhase::collecting;
    switch (table.add(slot, packet)) {
        case AddResult::duplicate:
            if (collecting) return give_up_with(burst, packet, slot, context);
            return packet.decide(Action::drop, Reason::drop_duplicate);
        case AddResult::full:
            // While the session moves nothing is given up: TCP sends this segment again.
            if (collecting) return give_up_with(burst, packet, slot, context);
            return packet.decide(Action::drop, Reason::drop_no_memory);
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

bool follows_pending(Burst& burst, Packet& packet) {
    for (uint32_t i = 0; i < burst.hello_count; i++) {
        const PendingHello& pending = burst.hellos[i];
        if (pending.hash != packet.hash || pending.packet == kNone) continue;
        packet.follows = i;
        return true;
    }
    return false;
}

void give_up(Burst& burst, uint32_t slot, Reason reason, Context& context) {
    decide_hold(burst, slot, nameless(reason), context);
}

}  // namespace keyrail::bind
