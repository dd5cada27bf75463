// SPDX-License-Identifier: Apache-2.0
// Builds TCP frames for tests, and reads what came out. Checksums are real.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/next_hop.h"
#include "dataplane/parse/headers.h"

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

/// Options of a Linux client's SYN: MSS, SACK-permitted, timestamps, window scale.
std::vector<uint8_t> linux_syn_options(uint16_t mss = 1460, uint8_t wscale = 7, uint32_t tsval = 77);
/// Timestamps as every later segment has them.
std::vector<uint8_t> timestamp_option(uint32_t tsval, uint32_t tsecr);

bool tcp_checksum_good(const Frame& frame);
bool ip_checksum_good(const Frame& frame);

}  // namespace keyrail::test
