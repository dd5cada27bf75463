// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/hello.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <optional>

#include "dataplane/bind/bind.h"
#include "dataplane/bind/hello_reason.h"
#include "dataplane/bind/release.h"

namespace keyrail::bind {
namespace {

/// Takes from the hello what steering needs: spans into the packet would not survive the burst.
void describe(PendingHello& pending, const ClientHello& hello, const Snapshot& snapshot,
              const Service& service) {
    pending.pool = service.routes.find(hello).value_or(service.pool);
    pending.name_count = static_cast<uint8_t>(session_names(hello, pending.names));
    pending.tls_version = hello.has_psk ? 0x0304 : 0x0303;
    if (!snapshot.ticket_keys.empty()) pending.opener = snapshot.ticket_blade(hello.ticket_key_name());
}

PendingHello nameless(Reason reason, const Service& service) {
    PendingHello pending;
    pending.pool = service.pool;
    pending.unnamed = reason;
    return pending;
}

/// As long as a client goes on sending, its hello is not given up. One that falls silent has either lost a
/// segment or sent all that it may without an acknowledgement, and nobody but a blade gives it one. Linux
/// probes for a lost tail after two round trips and at least 2 ms (RFC 8985 section 7.2), networks reorder
/// and duplicate within a few ms, a retransmission timer takes 200 ms.
constexpr uint64_t kSilenceUs = 10'000;
/// RFC 6928: more segments do not come unacknowledged.
constexpr uint16_t kInitialWindow = 10;

/// What the stream so far says. nullopt: more is needed, `wanted` = stream bytes.
std::optional<PendingHello> read_stream(Bytes stream, uint16_t service, uint32_t& wanted, Context& context) {
    ClientHello hello;
    const HelloLimits limits{.bytes = context.service(service).hello_limit};
    const HelloResult result = parse_client_hello(stream, context.scratch, limits, hello);
    if (result.status == HelloStatus::need_more) {
        wanted = result.offset;
        return std::nullopt;
    }
    PendingHello pending = nameless(unnamed_reason(result.status, hello), context.service(service));
    if (result.status == HelloStatus::complete)
        describe(pending, hello, *context.snapshot, context.service(service));
    return pending;
}

/// Steers the packet itself, with what is known.
void decide_packet(Burst& burst, Packet& packet, uint16_t bound, const PendingHello& read) {
    packet.follows = burst.hello_count;
    PendingHello& pending = burst.add_hello(read);
    pending.packet = static_cast<uint32_t>(&packet - burst.packets.data());
    pending.hash = packet.hash;
    pending.service = packet.service;
    pending.bound = bound;
}

void decide_hold(Burst& burst, uint32_t slot, const PendingHello& read, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    hold.phase = HoldPhase::deciding;
    PendingHello& pending = burst.add_hello(read);
    pending.hold = slot;
    pending.hash = hold.hash;
    pending.service = hold.service;
    pending.bound = hold.bound;
}

/// How long a hold may go on collecting when nothing comes any more.
uint64_t patience(const Hold& hold, uint64_t now_us) {
    if (hold.segments >= kInitialWindow) return now_us;  // as soon as this burst is read
    return std::min(hold.limit_us, now_us + kSilenceUs);
}

/// The latest segment of a hello that is not complete stays; where a blade has the connection it goes on.
void keep(Packet& packet, uint32_t slot, Context& context) {
    const Hold& hold = context.holds_table.at(slot);
    if (hold.bound == 0) {
        context.holds_table.set_deadline(slot, patience(hold, context.clock.us));
        return packet.decide(Action::hold, Reason::hello_rest);
    }
    context.holds_table.latest_sent();
    rte_mbuf_refcnt_update(packet.mbuf, 1);
    packet.forward_to(hold.bound, Reason::flow);
}

/// Nothing came for too long: steered with what is known, and read on.
void give_up(Burst& burst, uint32_t slot, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    hold.read_on = true;
    decide_hold(burst, slot, nameless(Reason::steer_incomplete, context.service(hold.service)), context);
}

void start_hold(Burst& burst, Packet& packet, uint32_t first_seq, uint16_t bound, uint32_t wanted,
                Context& context) {
    const uint32_t slot = open_hold(packet, first_seq, context);
    if (slot == kNone)
        return decide_packet(burst, packet, bound,
                             nameless(Reason::steer_hold_full, context.service(packet.service)));
    Hold& hold = context.holds_table.at(slot);
    hold.wanted = wanted;
    hold.limit_us = context.clock.us + context.service(packet.service).hello_timeout_us;
    if (bound != 0) read_on(slot, bound, context);
    keep(packet, slot, context);
}

/// The client gave up. Its held segments go with it: there is no connection that could miss them.
void abandon(Packet& packet, uint32_t slot, Context& context) {
    packet.decide(Action::drop, Reason::drop_rst_cookie);
    const Hold& hold = context.holds_table.at(slot);
    if (packet.h.seq - hold.base > kHelloMax) return;  // out of the window: not the client's (RFC 5961)
    if (hold.phase != HoldPhase::deciding) drop_hold(slot, Reason::drop_rst_cookie, context);
}

/// The hello is complete, only its session is not where it shall be: whatever comes waits behind it.
void wait_behind(Packet& packet, AddResult result) {
    switch (result) {
        case AddResult::added:
            return packet.decide(Action::hold, Reason::hello_rest);
        case AddResult::duplicate:
            return packet.decide(Action::drop, Reason::drop_duplicate);
        case AddResult::too_far:
        case AddResult::no_segment:  // nothing is given up: TCP sends this segment again
            return packet.decide(Action::drop, Reason::drop_no_memory);
    }
}

/// A segment that brings no new byte of an incomplete hello, or cannot be kept.
void not_kept(Burst& burst, Packet& packet, uint32_t slot, AddResult result, Context& context) {
    const uint16_t bound = context.holds_table.at(slot).bound;
    if (bound != 0) {
        if (result != AddResult::duplicate) stop_reading(slot, context);
        return packet.forward_to(bound, Reason::flow);
    }
    // A copy says no more than silence does: the client does not know what we have.
    if (result == AddResult::duplicate) return packet.decide(Action::drop, Reason::drop_duplicate);
    const bool full = result == AddResult::no_segment;
    packet.follows = burst.hello_count;
    const Reason reason = full ? Reason::steer_hold_full : Reason::steer_too_long;
    decide_hold(burst, slot, nameless(reason, context.service(packet.service)), context);
}

}  // namespace

void first_data(Burst& burst, Packet& packet, uint16_t bound, Context& context) {
    if (packet.h.payload_size == 0)  // a FIN alone: some blade has to answer it
        return decide_packet(burst, packet, bound,
                             nameless(Reason::steer_not_tls, context.service(packet.service)));
    uint32_t wanted = 0;
    if (const auto pending = read_stream(packet.payload(), packet.service, wanted, context))
        return decide_packet(burst, packet, bound, *pending);
    start_hold(burst, packet, packet.h.seq, bound, wanted, context);
}

void overtaking_segment(Burst& burst, Packet& packet, uint32_t first_seq, Context& context) {
    start_hold(burst, packet, first_seq, 0, 1, context);
}

void further_segment(Burst& burst, Packet& packet, uint32_t slot, Context& context) {
    HoldTable& table = context.holds_table;
    Hold& hold = table.at(slot);
    if (packet.h.flags & kRst) return abandon(packet, slot, context);
    if (packet.h.bare_ack()) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    const AddResult result = add_segment(slot, packet, context);
    if (hold.phase != HoldPhase::collecting) return wait_behind(packet, result);
    if (result != AddResult::added) return not_kept(burst, packet, slot, result, context);
    std::optional<PendingHello> pending;
    if (hold.reached >= hold.wanted)
        pending = read_stream(table.assemble(slot, context.stream), hold.service, hold.wanted, context);
    if (pending) {
        packet.decide(Action::hold, Reason::hello_rest);
        return decide_hold(burst, slot, *pending, context);
    }
    keep(packet, slot, context);
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

void expire(Burst& burst, Context& context) {
    constexpr uint64_t kMomentUs = 1000;
    context.holds_table.expire(context.clock.us, [&](uint32_t slot) {
        const Hold& hold = context.holds_table.at(slot);
        if (hold.phase == HoldPhase::deciding) return;
        if (hold.phase == HoldPhase::moving)
            return release(slot, hold.target, Reason::steer_move_late, context);
        if (hold.bound != 0) return stop_reading(slot, context);
        if (burst.hello_count < kBurst) return give_up(burst, slot, context);
        context.holds_table.set_deadline(slot, context.clock.us + kMomentUs);  // more than fits: in a moment
    });
}

}  // namespace keyrail::bind
