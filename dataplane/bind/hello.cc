// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/hello.h"

#include <rte_mbuf.h>

#include <algorithm>

#include "dataplane/bind/bind.h"
#include "dataplane/bind/release.h"
#include "dataplane/core/describe.h"

namespace keyrail::bind {
namespace {

/// A hello that waits for steering's decision, nothing of it known yet.
PendingHello& pend(Burst& burst, uint64_t hash, uint16_t service, BladeId bound, Reason unnamed,
                   const Context& context) {
    PendingHello& pending = burst.add_hello(hash);
    pending.facts.service = service;
    pending.facts.pool = context.service(service).pool;
    pending.facts.bound = bound;
    pending.facts.unnamed = unnamed;
    return pending;
}

/// The packet itself is steered.
PendingHello& pend_packet(Burst& burst, Packet& packet, BladeId bound, Reason unnamed,
                          const Context& context) {
    packet.follows = burst.hello_count;
    PendingHello& pending = pend(burst, packet.hash, packet.service, bound, unnamed, context);
    pending.packet = static_cast<uint32_t>(&packet - burst.packets.data());
    return pending;
}

/// All that is in the hold is. `service`: of its connection, in the snapshot of this burst.
PendingHello& pend_hold(Burst& burst, uint32_t slot, uint16_t service, Reason unnamed, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    hold.phase = HoldPhase::deciding;
    PendingHello& pending = pend(burst, hold.hash, service, hold.bound, unnamed, context);
    pending.hold = slot;
    return pending;
}

/// As long as a client goes on sending, its hello is not given up. One that falls silent has either lost a
/// segment or sent all that it may without an acknowledgement, and nobody but a blade gives it one. Linux
/// probes for a lost tail after two round trips and at least 2 ms (RFC 8985 section 7.2), networks reorder
/// and duplicate within a few ms, a retransmission timer takes 200 ms.
constexpr uint64_t kSilenceUs = 10'000;
/// RFC 6928: no client sends more segments than these without an acknowledgement.
constexpr uint16_t kInitialWindow = 10;

HelloLimits limits_of(uint16_t service, const Context& context) {
    const Service& s = context.service(service);
    return {.bytes = s.hello_limit, .proxy_header = s.proxy_header};
}

HelloResult read(Bytes stream, uint16_t service, Context& context, ClientHello& hello) {
    return parse_client_hello(stream, context.scratch, limits_of(service, context), hello);
}

/// What the hold has. Mostly that is a hello in two segments, which is read where it lies.
HelloResult read_hold(uint32_t slot, uint16_t service, Context& context, ClientHello& hello) {
    Bytes first, second;
    HelloResult result{};
    if (context.holds_table.in_two_pieces(slot, first, second) &&
        parse_in_two_pieces(first, second, end_in_one_record(first, context.service(service).hello_limit),
                            hello, result))
        return result;
    return read(context.holds_table.assemble(slot, context.stream), service, context, hello);
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
void give_up(Burst& burst, uint32_t slot, uint16_t service, Context& context) {
    context.holds_table.at(slot).read_on = true;
    pend_hold(burst, slot, service, Reason::steer_incomplete, context);
}

/// Its session was to move to a blade that may no longer have the client. It is steered again, without the
/// session: it has waited long enough.
void steer_anew(Burst& burst, uint32_t slot, uint16_t service, Context& context) {
    context.holds_table.stop_moving(slot);
    ClientHello hello;
    const HelloResult result = read_hold(slot, service, context, hello);
    PendingHello& pending = pend_hold(burst, slot, service, Reason::steer_move_failed, context);
    if (result.status == HelloStatus::complete) describe(pending.facts, hello, *context.snapshot);
    pending.facts.name_count = 0;
}

/// The timer of a hold that no blade has yet, and for which none is chosen.
void time_is_up(Burst& burst, uint32_t slot, Context& context) {
    constexpr uint64_t kMomentUs = 1000;
    const Hold& hold = context.holds_table.at(slot);
    const uint16_t service = context.service_at(hold.tuple);
    if (service == kNoService) return drop_hold(slot, Reason::drop_service_gone, context);
    if (burst.hello_count == kBurst)  // the burst is full: again in a moment
        return context.holds_table.set_deadline(slot, context.clock.us + kMomentUs);
    if (hold.phase == HoldPhase::moving) return steer_anew(burst, slot, service, context);
    give_up(burst, slot, service, context);
}

void start_hold(Burst& burst, Packet& packet, Seq first_seq, BladeId bound, uint32_t wanted,
                Context& context) {
    const uint32_t slot = open_hold(packet, first_seq, context);
    if (slot == kNone) {
        pend_packet(burst, packet, bound, Reason::steer_hold_full, context);
        return;
    }
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
    const int64_t at = packet.h.seq - hold.base;
    if (at < 0 || at > kHelloMax) return;  // out of the window: not the client's (RFC 5961)
    if (hold.phase != HoldPhase::deciding) drop_hold(slot, Reason::drop_rst_cookie, context);
}

/// A segment that brings no new byte of an incomplete hello, or cannot be kept.
void not_kept(Burst& burst, Packet& packet, uint32_t slot, AddResult result, Context& context) {
    const BladeId bound = context.holds_table.at(slot).bound;
    if (bound != 0) {
        if (result == AddResult::too_many || result == AddResult::no_segment) stop_reading(slot, context);
        return packet.forward_to(bound, Reason::flow);
    }
    // A copy says no more than silence does: the client does not know what we have.
    if (result == AddResult::duplicate) return packet.decide(Action::drop, Reason::drop_duplicate);
    // Our SYN-ACK's window reaches less far than the table: not the client's, and nothing ends for it.
    if (result == AddResult::out_of_window) return packet.decide(Action::drop, Reason::drop_out_of_window);
    const bool full = result == AddResult::no_segment;
    packet.follows = burst.hello_count;
    pend_hold(burst, slot, packet.service, full ? Reason::steer_hold_full : Reason::steer_too_long, context);
}

/// Nothing that fits came behind it.
void hold_half(Burst& burst, HalfHello& half, Context& context) {
    Packet& first = burst.packets[std::exchange(half.packet, kNone)];
    start_hold(burst, first, first.h.seq, 0, half.wanted, context);
}

/// The hello in both, if they are its two halves: steered as one in a single packet is, which `second`
/// follows.
bool makes_whole(Burst& burst, const HalfHello& half, Packet& second, Context& context) {
    Packet& first = burst.packets[half.packet];
    const bool behind = second.h.seq == first.h.seq + first.h.payload_size;
    if (!behind || (second.h.flags & (kSyn | kRst)) || (first.h.flags & kFin)) return false;
    ClientHello hello;
    HelloResult result{};
    if (!parse_in_two_pieces(first.payload(), second.payload(), half.wanted, hello, result)) return false;
    PendingHello& pending = pend_packet(burst, first, 0, unnamed_reason(result.status, hello), context);
    describe(pending.facts, hello, *context.snapshot);
    second.follows = first.follows;
    return true;
}

}  // namespace

void first_data(Burst& burst, Packet& packet, BladeId bound, Context& context) {
    if (packet.h.payload_size == 0) {  // a FIN alone: some blade has to answer it
        pend_packet(burst, packet, bound, Reason::steer_not_tls, context);
        return;
    }
    // Mostly the first of two segments.
    const size_t end = end_in_one_record(packet.payload(), context.service(packet.service).hello_limit);
    if (end > packet.h.payload_size) {
        const auto wanted = static_cast<uint32_t>(end);
        if (bound == 0) return burst.add_half(packet, wanted);
        return start_hold(burst, packet, packet.h.seq, bound, wanted, context);
    }
    ClientHello hello;
    const HelloResult result = end != 0 ? parse_in_one_record(packet.payload(), end, hello)
                                        : read(packet.payload(), packet.service, context, hello);
    if (result.status == HelloStatus::need_more)
        return start_hold(burst, packet, packet.h.seq, bound, result.offset, context);
    PendingHello& pending = pend_packet(burst, packet, bound, unnamed_reason(result.status, hello), context);
    if (result.status == HelloStatus::complete) describe(pending.facts, hello, *context.snapshot);
}

bool joins_half(Burst& burst, Packet& packet, Context& context) {
    HalfHello* half = burst.half_of(packet.hash);
    if (half == nullptr) return false;
    if (!makes_whole(burst, *half, packet, context)) {
        hold_half(burst, *half, context);
        return false;
    }
    half->packet = kNone;
    return true;
}

void part_half(Burst& burst, uint64_t hash, Context& context) {
    if (HalfHello* half = burst.half_of(hash); half != nullptr) hold_half(burst, *half, context);
}

void hold_halves(Burst& burst, Context& context) {
    for (HalfHello& half : burst.halves())
        if (half.packet != kNone) hold_half(burst, half, context);
}

void overtaking_segment(Burst& burst, Packet& packet, Seq first_seq, Context& context) {
    start_hold(burst, packet, first_seq, 0, 1, context);
}

void further_segment(Burst& burst, Packet& packet, uint32_t slot, Context& context) {
    Hold& hold = context.holds_table.at(slot);
    if (packet.h.flags & kRst) return abandon(packet, slot, context);
    if (packet.h.bare_ack()) return packet.decide(Action::drop, Reason::drop_ack_cookie);
    const AddResult added = add_segment(slot, packet, context);
    if (hold.phase != HoldPhase::collecting) return wait_behind(packet, added);
    if (added != AddResult::added) return not_kept(burst, packet, slot, added, context);
    if (hold.reached < hold.wanted) return keep(packet, slot, context);
    ClientHello hello;
    const HelloResult result = read_hold(slot, packet.service, context, hello);
    if (result.status == HelloStatus::need_more) {
        hold.wanted = result.offset;
        return keep(packet, slot, context);
    }
    packet.decide(Action::hold, Reason::hello_rest);
    PendingHello& pending =
        pend_hold(burst, slot, packet.service, unnamed_reason(result.status, hello), context);
    pending.completed_by = static_cast<uint32_t>(&packet - burst.packets.data());
    if (result.status == HelloStatus::complete) describe(pending.facts, hello, *context.snapshot);
}

bool follows_pending(const Burst& burst, Packet& packet) {
    packet.follows = burst.hello_in_packet(packet.hash);
    return packet.follows != kNone;
}

void expire(Burst& burst, Context& context) {
    context.holds_table.expire(context.clock.us, [&](uint32_t slot) {
        const Hold& hold = context.holds_table.at(slot);
        if (hold.phase == HoldPhase::deciding) return;
        const bool moving = hold.phase == HoldPhase::moving;
        if (moving && end_move(slot, hold.target, Reason::steer_move_late, context)) return;
        if (!moving && hold.bound != 0) return stop_reading(slot, context);
        time_is_up(burst, slot, context);
    });
}

}  // namespace keyrail::bind
