// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/tunnel.h"

namespace keyrail::replay {
namespace {

constexpr uint16_t kEthernetInside = 0x6558;  // transparent Ethernet bridging
constexpr size_t kUdpHeader = 8;

using MaybeInner = std::optional<Inner>;

/// By the Ethernet type; that of a whole Ethernet frame is said as 0.
MaybeInner typed(size_t at, uint16_t type) { return Inner{at, type == kEthernetInside ? uint16_t{0} : type}; }

MaybeInner ip_at(Bytes frame, size_t at) {
    if (at >= frame.size()) return std::nullopt;
    const unsigned version = frame[at] >> 4u;
    if (version != 4 && version != 6) return std::nullopt;
    return Inner{at, version == 4 ? kEtherTypeIpv4 : kEtherTypeIpv6};
}

MaybeInner mpls(Bytes frame, size_t at) {  // RFC 3032: labels up to the one with the bottom bit
    constexpr uint8_t kBottom = 1;
    while (at + 4 <= frame.size() && !(frame[at + 2] & kBottom)) at += 4;
    return ip_at(frame, at + 4);
}

MaybeInner pppoe(Bytes frame, size_t at) {  // RFC 2516; PPP's protocol is behind the header of 6 bytes
    return ip_at(frame, at + 8);
}

MaybeInner cisco_metadata(Bytes frame, size_t at) {  // version, length, option, group tag; then the type
    if (at + 8 > frame.size()) return std::nullopt;
    return typed(at + 8, load16(&frame[at + 6]));
}

MaybeInner gre(Bytes frame, size_t at) {  // RFC 2784, RFC 2890
    if (at + 4 > frame.size() || (frame[at + 1] & 7) != 0) return std::nullopt;
    const uint8_t flags = frame[at];
    const size_t options = (flags & 0x80 ? 4u : 0u) + (flags & 0x20 ? 4u : 0u) + (flags & 0x10 ? 4u : 0u);
    return typed(at + 4 + options, load16(&frame[at + 2]));
}

MaybeInner geneve(Bytes frame, size_t at) {  // RFC 8926 section 3.4
    if (at + 8 > frame.size()) return std::nullopt;
    return typed(at + 8 + (frame[at] & 0x3fu) * 4u, load16(&frame[at + 2]));
}

MaybeInner gtp(Bytes frame, size_t at) {  // 3GPP TS 29.281 section 5.1: options, then extension headers
    constexpr uint8_t kUserData = 255, kExtension = 4;
    if (at + 12 > frame.size() || frame[at] >> 5 != 1 || frame[at + 1] != kUserData) return std::nullopt;
    const uint8_t flags = frame[at];
    if ((flags & 7) == 0) return ip_at(frame, at + 8);
    uint8_t next = flags & kExtension ? frame[at + 11] : uint8_t{0};
    at += 12;
    while (next != 0 && at < frame.size() && frame[at] != 0) {
        at += size_t{frame[at]} * 4;
        next = at <= frame.size() ? frame[at - 1] : uint8_t{0};
    }
    return ip_at(frame, at);
}

MaybeInner udp(Bytes frame, size_t at) {
    if (at + kUdpHeader > frame.size()) return std::nullopt;
    switch (load16(&frame[at + 2])) {  // the destination port
        case 4789:                     // VXLAN, RFC 7348: a header of 8 bytes
            return Inner{at + kUdpHeader + 8, 0};
        case 6081:
            return geneve(frame, at + kUdpHeader);
        case 2152:
            return gtp(frame, at + kUdpHeader);
        default:
            return std::nullopt;
    }
}

MaybeInner ip_payload(Bytes frame, size_t at, uint8_t protocol) {
    switch (protocol) {
        case 4:   // IPv4 in IP, RFC 2003
        case 41:  // IPv6 in IP, RFC 4213
            return ip_at(frame, at);
        case 17:
            return udp(frame, at);
        case 47:
            return gre(frame, at);
        default:
            return std::nullopt;
    }
}

MaybeInner by_type(Bytes frame, size_t at, uint16_t type) {
    constexpr size_t kIpv4Min = 20, kIpv6Size = 40;
    switch (type) {
        case kEtherTypeIpv4:
            if (at + kIpv4Min > frame.size() || load16(&frame[at + 6]) & 0x1fff) return std::nullopt;
            return ip_payload(frame, at + (frame[at] & 0x0fu) * 4u, frame[at + 9]);
        case kEtherTypeIpv6:
            if (at + kIpv6Size > frame.size()) return std::nullopt;
            return ip_payload(frame, at + kIpv6Size, frame[at + 6]);
        case 0x8847:
            return mpls(frame, at);
        case 0x8864:
            return pppoe(frame, at);
        case 0x8909:
            return cisco_metadata(frame, at);
        default:
            return std::nullopt;
    }
}

}  // namespace

std::optional<Inner> find_inner(Bytes frame) {
    size_t at = kEthernetSize;
    while (at + kTagSize <= frame.size() && is_tag(&frame[at - 2])) at += kTagSize;
    if (at > frame.size()) return std::nullopt;
    const auto inner = by_type(frame, at, load16(&frame[at - 2]));
    return inner && inner->at < frame.size() ? inner : std::nullopt;
}

}  // namespace keyrail::replay
