// SPDX-License-Identifier: Apache-2.0
// A packet that no known flow explains: which cookie it needs or may carry, and what is answered from that
// cookie alone, without state. Part of bind.cc, inlined there: a call costs a SYN a twentieth.
#pragma once

#include <utility>

#include "dataplane/bind/hello.h"
#include "dataplane/cookie/syn_cookie.h"
#include "dataplane/core/context.h"
#include "dataplane/rewrite/answers.h"
#include "dataplane/rewrite/l2.h"

namespace keyrail::bind {

inline bool is_syn(const Headers& h) { return (h.flags & (kSyn | kAck | kRst)) == kSyn; }

/// A packet that no known flow explains, and what its cookie needs.
struct Miss {
    Packet* packet;
    const Service* service;
    bool not_in_table;   // it was looked for, before any packet of this burst was explained
    uint16_t clear;      // SYN: of the cookie to be made
    uint16_t mac;        // index into Context::cookie_macs, or one of those below
    SynOptions offered;  // SYN: by the client
};
inline constexpr uint16_t kNoMac = UINT16_MAX;
inline constexpr uint16_t kMacOnDemand = kNoMac - 1;  // more data of the same client: mostly a hello's rest
inline constexpr BladeId kBareSyn = 1;                // in Context::bare_syns, where no blade is meant

/// A SYN that a blade must answer though its service binds late: no MSS class of a cookie is small enough for
/// its client, or a cookie without timestamps would not be believed. Not for more than blades should bear.
/// Once one has answered, a cookie would be a second answer, with another number. One without timestamps that
/// gets a cookie is noted (Context::bare_syns), but not while many are guessed.
[[gnu::noinline]] inline bool fits_no_cookie(const Packet& packet, const Miss& miss, Context& context) {
    if (context.recent_syns.blade(packet.hash, context.clock.s) != 0) return true;
    const bool bare = !miss.offered.timestamp;
    const bool guessed = bare && context.guesses.too_many(miss.service->id, context.clock.s);
    if ((guessed || fits_no_class(miss.offered.mss, packet.h.ipv6)) &&
        context.small_syns.take(context.clock.us))
        return true;
    if (bare && !guessed) context.bare_syns.note(packet.hash, kBareSyn, context.clock.s);
    return false;
}
[[gnu::always_inline]] inline bool is_for_a_blade(const Packet& packet, const Miss& miss, Context& context) {
    constexpr uint16_t kInAnyClass = KR_COOKIE_MSS6 & 0xffff;
    if (miss.offered.mss >= kInAnyClass && miss.offered.timestamp) [[likely]]
        return false;
    return fits_no_cookie(packet, miss, context);
}

inline void answer_by_cookie(Packet& packet, const Miss& miss, Context& context) {
    if (!miss.service->served) return refuse(packet, miss.service->refuse, Reason::drop_no_blade, context);
    const std::span<uint8_t> room = room_for(packet, kSynAckMax);
    if (room.empty()) return packet.decide(Action::drop, Reason::drop_no_memory);
    set_size(packet,
             write_syn_ack(room.data(), packet.h, miss.offered, miss.clear, context.cookie_macs[miss.mac],
                           context.clock.tai_ms, context.mtus.mss_option[packet.h.ipv6]));
    packet.decide(Action::reply, Reason::syn_cookie);
}

/// Does it acknowledge a cookie of ours?
enum class Proof : uint8_t { none, good, weak };  // weak: good, but without timestamps

[[gnu::noinline]] inline Proof proof_without_mac(const Packet& packet, const Miss& miss,
                                                 const Context& context) {
    if (miss.mac == kNoMac || !carries_cookie(packet.frame(), packet.h, packet.h.seq.back(1),
                                              context.snapshot->cookie_keys, context.clock.tai_ms))
        return Proof::none;
    return Acknowledgement(packet.frame(), packet.h).has_timestamp() ? Proof::good : Proof::weak;
}

inline Proof proof_of(const Packet& packet, const Miss& miss, const Context& context) {
    if (miss.mac >= kMacOnDemand) [[unlikely]]
        return proof_without_mac(packet, miss, context);
    const Acknowledgement acknowledgement(packet.frame(), packet.h);
    if (!acknowledgement.carries(context.cookie_macs[miss.mac], context.snapshot->cookie_keys))
        return Proof::none;
    return acknowledgement.has_timestamp() ? Proof::good : Proof::weak;
}

inline bool too_many_guesses(const Packet& packet, const Context& context) {
    return context.guesses.too_many(context.service(packet.service).id, context.clock.s);
}

/// RFC 9293 section 3.8.4: a client that has said nothing yet asks whether we are still there, by the number
/// of its SYN, with a byte of garbage or without. The cookie answers.
inline bool answer_probe(Packet& packet, Context& context) {
    const bool probe = packet.h.payload_size <= 1 && (packet.h.flags & (kAck | kFin | kRst | kSyn)) == kAck;
    if (!probe || !carries_cookie(packet.frame(), packet.h, packet.h.seq, context.snapshot->cookie_keys,
                                  context.clock.tai_ms))
        return false;
    const std::span<uint8_t> room = room_for(packet, kSynAckMax);
    if (room.empty()) {
        packet.decide(Action::drop, Reason::drop_no_memory);
        return true;
    }
    set_size(packet, write_cookie_ack(room, packet.h, packet.h.seq));
    packet.decide(Action::reply, Reason::keepalive_answered);
    return true;
}

/// A later segment of a connection whose first one has not come yet.
inline bool overtakes(Burst& burst, Packet& packet, bool stamped, Context& context) {
    if (packet.h.payload_size == 0 || (packet.h.flags & (kAck | kRst)) != kAck) return false;
    const auto first =
        overtaken_seq(packet.frame(), packet.h, context.snapshot->cookie_keys, context.clock.tai_ms);
    if (!first) return false;
    if (stamped || !too_many_guesses(packet, context))
        overtaking_segment(burst, packet, *first, context);
    else
        packet.decide(Action::drop, Reason::drop_cookie_guess);
    return true;
}

/// Data that no reading of its numbers explains, without timestamps, of a connection that nobody has. True:
/// there were too many, and it is dropped, so that blades do not count them, too. Where there is one blade
/// only, that has what is not known here.
inline bool failed_guess(Packet& packet, Context& context) {
    constexpr uint32_t kTries = 20;  // of all readings
    const Service& service = context.service(packet.service);
    const bool many = context.guesses.too_many(service.id, context.clock.s) && service.members.size() > 1;
    context.guesses.failed(service.id, kTries, context.clock.s);
    context.bare_syns.forget(packet.hash);
    if (many) packet.decide(Action::drop, Reason::drop_cookie_guess);
    return many;
}

/// Of cookies, in this burst.
struct Periods {
    uint16_t now, latest;
};

/// Which MAC the miss will need if no flow explains it. `talker`: hash of the latest one that has data.
[[gnu::always_inline]] inline void add_mac(Miss& miss, uint64_t& talker, const Periods& periods,
                                           Context& context) {
    const Packet& packet = *miss.packet;
    const Headers& h = packet.h;
    miss.mac = kNoMac;
    if (h.layout != Layout::tcp || !miss.service->by_session) return;
    if (is_syn(h)) {
        if (!miss.service->late) return;
        miss.offered = read_syn_options(tcp_options(packet.frame(), h));
        const uint8_t options = cookie_options(miss.offered, h.ipv6, context.snapshot->cookie_key);
        miss.clear = kr_cookie_clear(options, periods.now);
        miss.mac = context.cookie_macs.add(cookie_tuple(h.tuple, h.seq), options, periods.now);
    } else if (h.flags & kAck) {
        if (h.payload_size != 0 && std::exchange(talker, packet.hash) == packet.hash) {
            miss.mac = kMacOnDemand;
            return;
        }
        const uint32_t isn = h.ack.back(1).value();
        miss.mac = context.cookie_macs.add(cookie_tuple(h.tuple, h.seq.back(1)), static_cast<uint8_t>(isn),
                                           kr_cookie_period_of(isn, periods.latest));
    }
}

}  // namespace keyrail::bind
