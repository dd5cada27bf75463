// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/headers.h"

namespace keyrail {
namespace {

/// Where IPv6's headers end: the protocol behind them, and where it begins. Protocol kCutShort: nowhere.
struct Upper {
    uint8_t protocol;
    size_t at;
};
constexpr uint8_t kCutShort = 255;
// RFC 8200 section 4; no sender of TCP needs more than a few of them
constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kNoNext = 59, kDestination = 60;
constexpr int kMaxExtensions = 8;

Upper skip_extensions(std::span<const uint8_t> packet) {
    Upper upper{packet[6], kIpv6Size};
    for (int i = 0; i < kMaxExtensions; i++) {
        if (upper.protocol != kHopByHop && upper.protocol != kRouting && upper.protocol != kDestination)
            return upper;
        if (packet.size() < upper.at + 8) return {kCutShort, 0};
        const uint8_t* header = &packet[upper.at];
        // With segments left the packet is on its way to somebody else (section 4.4).
        if (upper.protocol == kRouting && header[3] != 0) return {kNoNext, upper.at};
        upper = {header[0], upper.at + 8 + size_t{header[1]} * 8};
    }
    return {kNoNext, upper.at};
}

/// Source, destination and ports of the packet that an error quotes, which may be cut behind the first 8
/// bytes of TCP (RFC 792, RFC 4443 section 2.4). False: it is not TCP, or not its beginning.
bool parse_quoted(std::span<const uint8_t> packet, bool ipv6, Tuple& tuple) {
    if (packet.size() < (ipv6 ? kIpv6Size : kIpv4Min) || packet[0] >> 4 != (ipv6 ? 6 : 4)) return false;
    Upper upper{};
    if (ipv6) {
        std::memcpy(tuple.source.data(), &packet[8], 16);
        std::memcpy(tuple.destination.data(), &packet[24], 16);
        upper = skip_extensions(packet);
    } else {
        map_ipv4(tuple.source, &packet[12]);
        map_ipv4(tuple.destination, &packet[16]);
        upper = {load16(&packet[6]) & 0x1fff ? kNoNext : packet[9], size_t{packet[0] & 0x0fu} * 4};
    }
    if (upper.protocol != kProtocolTcp || upper.at < kIpv4Min || packet.size() < upper.at + 8) return false;
    tuple.source_port = load16(&packet[upper.at]);
    tuple.destination_port = load16(&packet[upper.at + 2]);
    return true;
}

/// An error about what a server has sent names the connection backwards.
void parse_icmp(std::span<const uint8_t> frame, size_t at, size_t end, Headers& h) {
    h.layout = Layout::other_ip;
    if (end < at + kIcmpHeader) return;
    const uint8_t type = frame[at];  // unreachable, too big, time exceeded, bad parameter
    const bool error = h.ipv6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
    Tuple quoted;
    if (!error || !parse_quoted(frame.subspan(at + kIcmpHeader, end - at - kIcmpHeader), h.ipv6, quoted))
        return;
    if (quoted.source != h.tuple.destination) return;  // not sent by whom it came to
    h.tuple = {quoted.destination, quoted.source, quoted.destination_port, quoted.source_port};
    h.layout = Layout::icmp_error;
}

void parse_upper(std::span<const uint8_t> frame, const Upper& upper, size_t end, Headers& h) {
    if (upper.protocol == kProtocolTcp) {
        h.l4 = static_cast<uint16_t>(upper.at);
        return parse_tcp(frame, end, h);
    }
    if (upper.protocol == (h.ipv6 ? kProtocolIcmp6 : kProtocolIcmp))
        return parse_icmp(frame, upper.at, end, h);
    h.layout = h.ipv6 && upper.protocol == kFragment ? Layout::fragment : Layout::other_ip;
}

void parse_ipv4(std::span<const uint8_t> frame, Headers& h) {
    if (frame.size() < h.l3 + size_t{kIpv4Min}) return;
    const uint8_t* ip = &frame[h.l3];
    const size_t header = size_t{ip[0] & 0x0fu} * 4, total = load16(ip + 2);
    if (ip[0] >> 4 != 4 || header < kIpv4Min || total < header || h.l3 + total > frame.size()) return;
    map_ipv4(h.tuple.source, ip + 12);
    map_ipv4(h.tuple.destination, ip + 16);
    if (load16(ip + 6) & 0x3fff) {  // more fragments, or an offset
        h.layout = Layout::fragment;
        return;
    }
    parse_upper(frame, {ip[9], h.l3 + header}, h.l3 + total, h);
}

void parse_ipv6(std::span<const uint8_t> frame, Headers& h) {
    if (frame.size() < h.l3 + size_t{kIpv6Size}) return;
    const uint8_t* ip = &frame[h.l3];
    const size_t total = kIpv6Size + size_t{load16(ip + 4)};
    if (ip[0] >> 4 != 6 || h.l3 + total > frame.size()) return;
    h.ipv6 = true;
    std::memcpy(h.tuple.source.data(), ip + 8, 16);
    std::memcpy(h.tuple.destination.data(), ip + 24, 16);
    const Upper upper = skip_extensions(frame.subspan(h.l3, total));
    if (upper.protocol == kCutShort || upper.at > total) return;
    parse_upper(frame, {upper.protocol, h.l3 + upper.at}, h.l3 + total, h);
}

}  // namespace

Headers parse_headers(std::span<const uint8_t> frame) {
    Headers h;
    if (frame.size() < kEthernetSize || frame.size() > UINT16_MAX) return h;
    h.l3 = kEthernetSize;
    while (is_tag(&frame[h.l3 - 2u]) && h.l3 < kEthernetSize + kTagsMax) {
        if (frame.size() < size_t{h.l3} + kTagSize) return h;
        h.l3 += kTagSize;
    }
    switch (load16(&frame[h.l3 - 2u])) {
        case kEtherTypeIpv4:
            parse_ipv4(frame, h);
            break;
        case kEtherTypeIpv6:
            parse_ipv6(frame, h);
            break;
        default:
            h.layout = Layout::not_ip;
    }
    return h;
}

}  // namespace keyrail
