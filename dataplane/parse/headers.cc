// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/headers.h"

namespace keyrail {
namespace {

constexpr uint16_t kIpv4Min = 20, kIpv6Size = 40, kTcpMin = 20;

void map_ipv4(Address& address, const uint8_t* bytes) {
    address[10] = address[11] = 0xff;
    std::memcpy(&address[12], bytes, 4);
}

/// TCP header at `h.l4`; `end` = where the IP packet ends in the frame.
void parse_tcp(std::span<const uint8_t> frame, size_t end, Headers& h) {
    if (end < h.l4 + size_t{kTcpMin}) return;  // truncated
    const uint8_t* tcp = &frame[h.l4];
    const size_t length = size_t{tcp[12]} / 16 * 4;
    if (length < kTcpMin || h.l4 + length > end) return;
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
    if (ip[9] != kProtocolTcp) {
        h.layout = Layout::other_ip;
        return;
    }
    h.l4 = static_cast<uint16_t>(h.l3 + header);
    parse_tcp(frame, h.l3 + total, h);
}

void parse_ipv6(std::span<const uint8_t> frame, Headers& h) {
    if (frame.size() < h.l3 + size_t{kIpv6Size}) return;
    const uint8_t* ip = &frame[h.l3];
    const size_t total = kIpv6Size + size_t{load16(ip + 4)};
    if (ip[0] >> 4 != 6 || h.l3 + total > frame.size()) return;
    h.ipv6 = true;
    std::memcpy(h.tuple.source.data(), ip + 8, 16);
    std::memcpy(h.tuple.destination.data(), ip + 24, 16);
    constexpr uint8_t kFragmentHeader = 44;
    if (ip[6] != kProtocolTcp) {
        h.layout = ip[6] == kFragmentHeader ? Layout::fragment : Layout::other_ip;
        return;
    }
    h.l4 = static_cast<uint16_t>(h.l3 + kIpv6Size);
    parse_tcp(frame, h.l3 + total, h);
}

}  // namespace

Headers parse_headers(std::span<const uint8_t> frame) {
    Headers h;
    if (frame.size() < kEthernetSize || frame.size() > UINT16_MAX) return h;
    h.l3 = kEthernetSize;
    switch (load16(&frame[12])) {
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
