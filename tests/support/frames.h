// SPDX-License-Identifier: Apache-2.0
// Builds TCP frames for tests, and reads what came out. Checksums are real.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tables/next_hop.h"
#include "dataplane/wire/headers.h"

namespace keyrail::test {

using Frame = std::vector<uint8_t>;

inline constexpr MacAddress kClientMac = {0x02, 0, 0, 0, 0, 0xc1};
inline constexpr MacAddress kFrontMac = {0x02, 0, 0, 0, 0, 0xf0};

/// "192.0.2.1" or "2001:db8::1" as 16 bytes.
Address address(const std::string& text);

struct TcpSegment {
    std::string source = "192.0.2.10", destination = "198.51.100.1";
    uint16_t source_port = 40000, destination_port = 443;
    uint32_t seq = 1000, ack = 0;
    uint8_t flags = kAck;
    std::vector<uint8_t> options;  // padded with NOPs to a multiple of 4
    std::vector<uint8_t> payload;
    MacAddress source_mac = kClientMac, destination_mac = kFrontMac;

    [[nodiscard]] Frame frame() const;
};

/// A UDP datagram; without a checksum, as IPv4 allows.
Frame datagram(const std::string& source, const std::string& destination, uint16_t port,
               std::span<const uint8_t> payload);
/// Options of a Linux client's SYN: MSS, SACK-permitted, timestamps, window scale.
std::vector<uint8_t> linux_syn_options(uint16_t mss = 1460, uint8_t wscale = 7, uint32_t tsval = 77);
/// Timestamps as every later segment has them.
std::vector<uint8_t> timestamp_option(uint32_t tsval, uint32_t tsecr);

/// The frame with VLAN tags, outermost first; two of them are QinQ (IEEE 802.1ad).
Frame tagged(const Frame& frame, const std::vector<uint16_t>& vlans);
/// An IPv4 frame with these options, a multiple of 4 bytes.
Frame with_ip_options(const Frame& frame, const std::vector<uint8_t>& options);
/// An IPv6 frame with an extension header of this kind behind its fixed header; pushes what is there back.
Frame with_extension(const Frame& frame, uint8_t kind, uint8_t eights = 0);
/// What a router answers that could not pass `about` on: too big, with the first `quoted` bytes of it.
Frame too_big(const std::string& router, const Frame& about, size_t quoted = 64);

bool tcp_checksum_good(const Frame& frame);
bool ip_checksum_good(const Frame& frame);

}  // namespace keyrail::test
