// SPDX-License-Identifier: Apache-2.0
// Stage `parse`, first half: Ethernet with its VLAN tags, IPv4/IPv6 with options and extension headers, TCP,
// and the packet that an ICMP error quotes. Pure: bytes in, offsets out.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/wire/seq.h"

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

/// By words: std::array compares 16 bytes by a call of memcmp().
inline bool same(const Address& a, const Address& b) {
    std::array<uint64_t, 2> x, y;
    std::memcpy(x.data(), a.data(), sizeof x);
    std::memcpy(y.data(), b.data(), sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

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
    Seq seq, ack;
    Tuple tuple;
    bool operator==(const Headers&) const = default;

    /// Nothing but an acknowledgement.
    [[nodiscard]] bool bare_ack() const { return payload_size == 0 && !(flags & (kSyn | kFin | kRst)); }
};

inline constexpr uint16_t kEthernetSize = 14, kIpv4Min = 20, kIpv6Size = 40, kTcpMin = 20, kIcmpHeader = 8,
                          kUdpHeader = 8;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800, kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100, kEtherTypeQinq = 0x88a8;  // IEEE 802.1Q
inline constexpr uint16_t kTagSize = 4, kTagsMax = 2 * kTagSize;
inline constexpr uint8_t kProtocolIcmp = 1, kProtocolTcp = 6, kProtocolUdp = 17, kProtocolIcmp6 = 58;

inline bool is_tag(const uint8_t* ether_type) {
    const uint16_t type = load16(ether_type);
    return type == kEtherTypeVlan || type == kEtherTypeQinq;
}

/// RFC 4291 section 2.5.5.2. In two words, as it is read again a moment later: a CPU does not forward two
/// stores to one load.
inline void map_ipv4(Address& address, const uint8_t* bytes) {
    const std::array<uint64_t, 2> words = {0, uint64_t{load32_raw(bytes)} << 32 | 0xffff'0000};
    std::memcpy(address.data(), words.data(), sizeof words);
}

/// A TCP header of `length` bytes at `h.l4`, all of it there.
inline void fill_tcp(const uint8_t* tcp, size_t length, size_t end, Headers& h) {
    h.tuple.source_port = load16(tcp);
    h.tuple.destination_port = load16(tcp + 2);
    h.seq = load32(tcp + 4);
    h.ack = load32(tcp + 8);
    h.flags = tcp[13];
    h.tcp_length = static_cast<uint8_t>(length);
    h.payload = static_cast<uint16_t>(h.l4 + length);
    h.payload_size = static_cast<uint16_t>(end - h.payload);
    h.layout = Layout::tcp;
}

/// TCP header at `h.l4`; `end` = where the IP packet ends in the frame.
inline void parse_tcp(std::span<const uint8_t> frame, size_t end, Headers& h) {
    if (end < h.l4 + size_t{kTcpMin}) return;  // truncated
    const uint8_t* tcp = &frame[h.l4];
    const size_t length = size_t{tcp[12]} / 16 * 4;
    if (length >= kTcpMin && h.l4 + length <= end) fill_tcp(tcp, length, end, h);
}

/// Any frame.
Headers parse_headers(std::span<const uint8_t> frame);

/// Nearly every frame: untagged IPv4 without options, not a fragment, TCP. Two masked words tell it from all
/// others (125 instructions of parse_headers() become 57). False: parse_headers() says what it is.
[[gnu::always_inline]] inline bool parse_usual_headers(std::span<const uint8_t> frame, Headers& h) {
    constexpr size_t kTcp = kEthernetSize + kIpv4Min;
    if (frame.size() < kTcp + kTcpMin || frame.size() > UINT16_MAX) return false;
    const uint8_t *ip = &frame[kEthernetSize], *tcp = &frame[kTcp];
    const uint32_t type_version = (load32(ip - 2) & 0xffff'ff00) ^ (uint32_t{kEtherTypeIpv4} << 16 | 0x4500);
    const uint32_t fragment_protocol = (load32(ip + 6) & 0x3fff'00ff) ^ kProtocolTcp;
    const size_t end = kEthernetSize + size_t{load16(ip + 2)}, length = size_t{tcp[12]} / 16 * 4;
    if ((type_version | fragment_protocol) != 0 || length < kTcpMin || kTcp + length > end ||
        end > frame.size())
        return false;
    h.ipv6 = false;
    h.l3 = kEthernetSize;
    h.l4 = kTcp;
    map_ipv4(h.tuple.source, ip + 12);
    map_ipv4(h.tuple.destination, ip + 16);
    fill_tcp(tcp, length, end, h);
    return true;
}

/// Of a frame whose layout is tcp.
inline std::span<const uint8_t> tcp_options(std::span<const uint8_t> frame, const Headers& h) {
    return frame.subspan(h.l4 + size_t{kTcpMin}, h.tcp_length - size_t{kTcpMin});
}

}  // namespace keyrail
