// SPDX-License-Identifier: Apache-2.0
// Stage `bind`, first half: the stateless answer to a SYN (DESIGN.md section 5.1). Pure: a frame in, a frame
// out. The cookie itself, shared with the blade's accept program, is dataplane/common/cookie.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/common/cookie.h"
#include "dataplane/wire/headers.h"
#include "dataplane/wire/tcp_options.h"

namespace keyrail {

/// Room that a SYN-ACK needs: Ethernet with two tags, IPv6, TCP with 20 bytes of options.
inline constexpr size_t kSynAckMax = kEthernetSize + kTagsMax + 40 + 20 + 20;

/// What a SYN offers, as far as the cookie carries it. Not initialised by itself: a burst has room for 64.
struct SynOptions {
    uint16_t mss;
    uint8_t wscale;
    bool sack;
    bool timestamp;
    uint32_t tsval_raw;  // as it lies in the packet: it is only sent back

    [[nodiscard]] uint32_t tsval() const { return wire(tsval_raw); }
};
/// MSS 0: the option is absent, and the smallest class is the default (RFC 9293 section 3.7.1).
inline constexpr SynOptions kNoOptions{0, KR_COOKIE_NO_WSCALE, false, false, 0};

/// Any TCP options; malformed ones end the list (what was read before them counts).
SynOptions read_any_options(std::span<const uint8_t> options);

/// The same; those of a Linux client (and of Android's) are known by three words.
inline SynOptions read_syn_options(std::span<const uint8_t> options) {
    if (options.size() != 20) return read_any_options(options);
    const uint32_t mss = load32(&options[0]), wscale = load32(&options[16]);
    const uint32_t others = ((mss & 0xffff'0000) ^ kMssWord) |
                            (load32_raw(&options[4]) ^ kSackAndTimestamps) |
                            ((wscale & 0xffff'ff00) ^ kWscaleWord);
    if (others != 0) return read_any_options(options);
    return {static_cast<uint16_t>(mss), std::min(static_cast<uint8_t>(wscale), kWscaleMax), true, true,
            load32_raw(&options[8])};
}

/// Four sizes, ascending, 16 bits each.
constexpr uint64_t mss_classes(bool ipv6) { return ipv6 ? KR_COOKIE_MSS6 : KR_COOKIE_MSS4; }

/// The largest class that a client of this MSS can take, which is nearly always the last one; the smallest
/// for everything below. The classes are constants, or this would be a third longer.
template <bool kIpv6>
constexpr unsigned mss_class(uint16_t mss) {
    constexpr uint64_t kClasses = mss_classes(kIpv6);
    if (mss >= kClasses >> 48) [[likely]]
        return 3;
    return (mss >= (kClasses >> 16 & 0xffff)) + (mss >= (kClasses >> 32 & 0xffff));
}

/// A client of so small an MSS is served by no class: a cookie would have its blade send too large segments.
constexpr bool fits_no_class(uint16_t mss, bool ipv6) {
    return mss != 0 && mss < (mss_classes(ipv6) & 0xffff);
}

/// The cookie's option byte for these options. `key_id` is 0 or 1.
inline uint8_t cookie_options(const SynOptions& syn, bool ipv6, uint8_t key_id) {
    const unsigned mss = ipv6 ? mss_class<true>(syn.mss) : mss_class<false>(syn.mss);
    return static_cast<uint8_t>(mss << KR_COOKIE_MSS_SHIFT | (syn.sack ? KR_COOKIE_SACK : 0) |
                                key_id << KR_COOKIE_KEY_SHIFT | syn.wscale);
}

/// What the cookie's MAC is over, beside option byte and period.
inline kr_cookie_tuple cookie_tuple(const Tuple& t, Seq client_isn) {
    kr_cookie_tuple tuple;
    std::memcpy(&tuple.word[0], t.source.data(), 16);
    std::memcpy(&tuple.word[2], t.destination.data(), 16);
    tuple.word[4] = kr_cookie_last(client_isn.value(), t.source_port, t.destination_port);
    return tuple;
}

/// As it lies in a packet.
constexpr uint32_t mss_option(uint16_t mss) { return wire(kMssWord | mss); }

/// Turns the SYN in `frame` (parsed as `h`) into its SYN-ACK, in place: addresses, ports and MACs swapped,
/// the VLAN tags that it came with, cookie as ISN and TSval, checksums set. `frame` must have kSynAckMax
/// bytes of room. `clear`: of the cookie. `mss_raw`: the option that says what the client may send at once
/// (mss_option()). Returns the new frame length.
uint16_t write_syn_ack(uint8_t* frame, const Headers& h, const SynOptions& syn, uint16_t clear, uint64_t mac,
                       uint32_t tai_ms, uint32_t mss_raw);

/// Turns a client's segment whose cookie is good into the acknowledgement of its SYN, as a server would send
/// it once more. It says nothing new, not even a later timestamp: what the client echoes next must be the
/// cookie's. The same room. Returns the new frame length.
uint16_t write_cookie_ack(std::span<uint8_t> frame, const Headers& h, Seq client_isn);

/// Does the segment carry the cookie that answered a SYN with this number?
bool carries_cookie(std::span<const uint8_t> frame, const Headers& h, Seq client_isn,
                    std::span<const kr_cookie_key, 2> keys, uint32_t tai_ms);

/// What a client's segment echoes of our SYN-ACK.
class Acknowledgement {
  public:
    Acknowledgement(std::span<const uint8_t> frame, const Headers& h);

    /// The cookie's option byte, which names its key.
    [[nodiscard]] uint8_t options() const { return static_cast<uint8_t>(isn_); }
    [[nodiscard]] bool has_timestamp() const { return timestamp_; }
    /// When the cookie can have been made.
    [[nodiscard]] uint16_t period(uint32_t tai_ms) const {
        return kr_cookie_period_of(isn_, kr_cookie_latest(tai_ms));
    }
    /// Is this the cookie with that MAC? `keys` by key id; one that is all zero is not in use: whoever wants
    /// could make its cookies.
    [[nodiscard]] bool carries(uint64_t mac, std::span<const kr_cookie_key, 2> keys) const {
        const kr_cookie_key& key = keys[options() >> KR_COOKIE_KEY_SHIFT & 1];
        return (key.k0 | key.k1) != 0 && kr_cookie_valid(mac, isn_, timestamp_, tsecr_) != 0;
    }
    /// How old the cookie is, by its timestamp; nullopt: the client has none.
    [[nodiscard]] std::optional<int32_t> age_ms(uint32_t tai_ms) const {
        if (!timestamp_) return std::nullopt;
        return kr_cookie_age_ms(period(tai_ms), tsecr_, tai_ms);
    }
    /// Payload of a segment that the client fills, by the MSS class in the cookie.
    [[nodiscard]] uint32_t full_segment() const;

  private:
    const uint32_t isn_;
    const bool ipv6_;
    bool timestamp_ = false;
    uint32_t tsecr_ = 0;
};

/// Of a segment that has overtaken the first one after the handshake: the sequence number of that. The
/// cookie's MAC is over the client's ISN, which only the first segment names; but clients fill their
/// segments, so that a later one lies a few times its own size, or the size that the cookie says, behind it.
/// nullopt: no such start fits.
std::optional<Seq> overtaken_seq(std::span<const uint8_t> frame, const Headers& h,
                                 std::span<const kr_cookie_key, 2> keys, uint32_t tai_ms);

}  // namespace keyrail
