// SPDX-License-Identifier: Apache-2.0
// TCP segments over IPv4 as frames: written whole, checksums included, and read. Every segment has
// timestamps, as those of real clients and servers do. Pure: bytes only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/tables/next_hop.h"
#include "tools/lib/loadgen/conversation.h"

namespace keyrail::loadgen {

/// Stream bytes, prepared at start.
struct Payload {
    const uint8_t* data = nullptr;
    uint16_t size = 0;
    uint32_t sum = 0;  // of its 16-bit words as they lie in memory, not yet folded (RFC 1071)
};
Payload payload_of(std::span<const uint8_t> bytes);

/// Where frames of one connection and direction go.
struct Path {
    MacAddress to{}, from{};
    uint32_t source = 0, destination = 0;  // as they lie in the packet
    uint16_t source_port = 0, destination_port = 0;
};

inline constexpr size_t kHeaderSize = 14 + 20 + 32;  // Ethernet, IPv4, TCP with timestamps
inline constexpr size_t kSynSize = 14 + 20 + 40;
inline constexpr size_t kMss = 1460 - 12;  // of payload beside timestamps

/// Writes a whole frame; `out` has room for kSynSize, or kHeaderSize and the payload. `segment.size` is
/// ignored. A SYN gets a Linux client's options. Returns the frame's size.
uint16_t write_frame(uint8_t* out, const Path& path, const Segment& segment, uint32_t tsecr,
                     const Payload& payload);

struct Received {
    Segment segment;
    uint32_t source = 0, destination = 0;  // as they lie in the packet
    uint16_t source_port = 0, destination_port = 0;
    uint16_t blade = 0;  // whose MAC it was sent to, see blade_mac(); 0: nobody's
    std::span<const uint8_t> payload;
};

/// False: not a whole TCP segment over IPv4.
bool read_frame(std::span<const uint8_t> frame, Received& out);

/// Blades are told apart by the address that frames for them are sent to.
constexpr MacAddress blade_mac(uint16_t blade) {
    return {0x02, 0, 0, 0, static_cast<uint8_t>(0xb0 + (blade >> 8)), static_cast<uint8_t>(blade)};
}
inline constexpr uint16_t kBlades = 4095;  // DESIGN.md section 2

}  // namespace keyrail::loadgen
