// SPDX-License-Identifier: Apache-2.0
// One SYN answered, one acknowledgement judged: what stage `bind` does for a burst.
#pragma once

#include "dataplane/cookie/cookie_macs.h"
#include "dataplane/cookie/syn_cookie.h"

namespace keyrail::test {

using CookieKeys = std::array<kr_cookie_key, 2>;  // by key id

/// Turns the SYN in `frame` (parsed as `h`) into its SYN-ACK; `frame` must have kSynAckMax bytes of room.
/// Returns the new length.
inline uint16_t answer_syn(std::span<uint8_t> frame, const Headers& h, const CookieKeys& keys, uint8_t key_id,
                           uint32_t tai_ms) {
    const SynOptions offered = read_syn_options(tcp_options(frame, h));
    const uint8_t options = cookie_options(offered, h.ipv6, key_id);
    CookieMacs macs;
    const uint16_t mac = macs.add(cookie_tuple(h.tuple, h.seq), options, kr_cookie_period(tai_ms));
    macs.make(keys);
    return write_syn_ack(frame.data(), h, offered, kr_cookie_clear(options, kr_cookie_period(tai_ms)),
                         macs[mac], tai_ms, mss_option(h.ipv6 ? 1440 : 1460));
}

/// Does this segment acknowledge a cookie of ours as the first thing after the handshake (seq = ISN + 1)?
inline bool cookie_acknowledged(std::span<const uint8_t> frame, const Headers& h, const CookieKeys& keys,
                                uint32_t tai_ms) {
    const Acknowledgement acknowledgement(frame, h);
    CookieMacs macs;
    const uint16_t mac = macs.add(cookie_tuple(h.tuple, h.seq.back(1)), acknowledgement.options(),
                                  acknowledgement.period(tai_ms));
    macs.make(keys);
    return acknowledgement.carries(macs[mac], keys);
}

}  // namespace keyrail::test
