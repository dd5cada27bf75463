// SPDX-License-Identifier: Apache-2.0
// Stage `parse`, first half: Ethernet with its VLAN tags, IPv4/IPv6 with options and extension headers, TCP,
// and the packet that an ICMP error quotes. Pure: bytes in, offsets out.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace keyrail {

/// Big-endian loads; the caller has checked the bounds.
inline uint16_t load16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
inline uint32_t load24(const uint8_t* p) { return static_cast<uint32_t>(p[0] << 16 | p[1] << 8 | p[2]); }
inline uint32_t load32(const uint8_t* p) {
    uint32_t v = 0;
    std::memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}
/// As it lies in the packet.
inline uint32_t load32_raw(const uint8_t* p) {
    uint32_t v = 0;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store16(uint8_t* p, uint16_t v) {
    p[0] = static_cast<uint8_t>(v >> 8);
    p[1] = static_cast<uint8_t>(v);
}
inline void store32(uint8_t* p, uint32_t v) {
    v = __builtin_bswap32(v);
    std::memcpy(p, &v, sizeof v);
}

enum TcpFlag : uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32 };

using Address = std::array<uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d

/// A connection as the client's packets name it. Ports in host order. No padding: it is hashed as bytes.
struct Tuple {
    Address source{}, destination{};
    uint16_t source_port = 0, destination_port = 0;
    bool operator==(const Tuple&) const = default;
};
static_assert(sizeof(Tuple) == 36);

enum class Layout : uint8_t {
    tcp,         // all fields below are valid
    icmp_error,  // about a TCP connection: the tuple is that of the connection, as its client sends
    fragment,    // an IP fragment: addresses are valid
    other_ip,    // IP, not TCP: addresses are valid
    not_ip,      // ARP and the rest
    truncated,   // headers cut short, or lengths that contradict each other
};

struct Headers {
    Layout layout = Layout::truncated;
    bool ipv6 = false;
    uint8_t flags = 0;          // TcpFlag
    uint8_t tcp_length = 0;     // header with options, 20..60
    uint16_t l3 = 0;            // offset of the IP header
    uint16_t l4 = 0;            // offset of the TCP header
    uint16_t payload = 0;       // offset of the TCP payload
    uint16_t payload_size = 0;  // by the IP length, so Ethernet padding is not in it
    uint32_t seq = 0, ack = 0;
    Tuple tuple;

    /// Nothing but an acknowledgement.
    [[nodiscard]] bool bare_ack() const { return payload_size == 0 && !(flags & (kSyn | kFin | kRst)); }
};

inline constexpr uint16_t kEthernetSize = 14;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800, kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100, kEtherTypeQinq = 0x88a8;  // IEEE 802.1Q
inline constexpr uint16_t kTagSize = 4, kTagsMax = 2 * kTagSize;
inline constexpr uint8_t kProtocolIcmp = 1, kProtocolTcp = 6, kProtocolIcmp6 = 58;

inline bool is_tag(const uint8_t* ether_type) {
    const uint16_t type = load16(ether_type);
    return type == kEtherTypeVlan || type == kEtherTypeQinq;
}

Headers parse_headers(std::span<const uint8_t> frame);

}  // namespace keyrail
