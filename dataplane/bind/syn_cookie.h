// SPDX-License-Identifier: Apache-2.0
// Stage `bind`, first half: the stateless answer to a SYN (DESIGN.md section 5.1). Pure: a frame in, a frame
// out. The cookie itself, shared with the blade's accept program, is control/accept/cookie.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "control/accept/cookie.h"
#include "dataplane/parse/headers.h"

namespace keyrail {

/// Room that a SYN-ACK needs: Ethernet with two tags, IPv6, TCP with 20 bytes of options.
inline constexpr size_t kSynAckMax = kEthernetSize + kTagsMax + 40 + 20 + 20;

/// What a SYN offers, as far as the cookie carries it.
struct SynOptions {
    uint16_t mss = 536;  // RFC 9293 section 3.7.1: the default when the option is absent
    uint8_t wscale = KR_COOKIE_NO_WSCALE;
    bool sack = false;
    bool timestamp = false;
    uint32_t tsval = 0;
};

/// Reads TCP options; malformed ones end the list (what was read before them counts).
SynOptions read_syn_options(std::span<const uint8_t> options);

/// The cookie's option byte for these options. `key_id` is 0 or 1.
uint8_t cookie_options(const SynOptions& options, bool ipv6, uint8_t key_id);

/// Turns the SYN in `frame` (parsed as `h`) into its SYN-ACK, in place: addresses, ports and MACs swapped,
/// the VLAN tags that it came with, cookie as ISN and TSval, checksums set. `frame` must have kSynAckMax
/// bytes of room. Returns the new frame length.
uint16_t answer_syn(std::span<uint8_t> frame, const Headers& h, const kr_cookie_key& key, uint8_t key_id,
                    uint32_t tai_ms);

/// Does this segment acknowledge a cookie of ours as the first thing after the handshake (seq = ISN + 1)?
/// `keys` by key id; a key that is all zero is not in use.
bool cookie_acknowledged(std::span<const uint8_t> frame, const Headers& h,
                         std::span<const kr_cookie_key, 2> keys);

/// The same for a segment that has overtaken the first one: the sequence number of that. The cookie's MAC is
/// over the client's ISN, which only the first segment names; but clients fill their segments, so that a
/// later one lies a few times its own size, or the size that the cookie says, behind it. nullopt: no such
/// start fits.
std::optional<uint32_t> overtaken_seq(std::span<const uint8_t> frame, const Headers& h,
                                      std::span<const kr_cookie_key, 2> keys);

}  // namespace keyrail
