// SPDX-License-Identifier: Apache-2.0
// An arrival (common/arrival.h) in a frame: a UDP datagram (RFC 768) in IPv4, or in IPv6 without extension
// headers. Pure. Its checksum is not looked at: who can forge the token can forge that.
#pragma once

#include <optional>
#include <span>

#include "dataplane/common/arrival.h"
#include "dataplane/wire/headers.h"

namespace keyrail {

/// In a frame whose headers are `h`; nullopt: it is something else.
inline std::optional<Arrival> arrival_in(std::span<const uint8_t> frame, const Headers& h) {
    if (h.layout != Layout::other_ip) return std::nullopt;
    const uint8_t* const ip = &frame[h.l3];
    const size_t header = h.ipv6 ? kIpv6Size : size_t{ip[0] & 0x0fu} * 4;
    const size_t total = h.ipv6 ? kIpv6Size + size_t{load16(ip + 4)} : load16(ip + 2);
    if ((h.ipv6 ? ip[6] : ip[9]) != kProtocolUdp || total != header + kUdpHeader + kArrivalSize)
        return std::nullopt;
    const uint8_t* const udp = ip + header;
    if (load16(udp + 2) != kArrivalPort || load16(udp + 4) != kUdpHeader + kArrivalSize) return std::nullopt;
    return arrival_of({udp + kUdpHeader, kArrivalSize});
}

}  // namespace keyrail
