// SPDX-License-Identifier: Apache-2.0
#include "tests/support/frames.h"

#include <arpa/inet.h>

#include <algorithm>
#include <stdexcept>

namespace keyrail::test {
namespace {

/// RFC 1071, the plain way: independent of what the dataplane uses.
uint16_t internet_checksum(std::vector<uint8_t> bytes) {
    if (bytes.size() % 2) bytes.push_back(0);
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.size(); i += 2) sum += static_cast<uint32_t>(bytes[i] << 8 | bytes[i + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

void append(Frame& out, const auto& bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
void append16(Frame& out, unsigned v) {
    out.push_back(static_cast<uint8_t>(v >> 8));
    out.push_back(static_cast<uint8_t>(v));
}
void append32(Frame& out, uint32_t v) {
    append16(out, v >> 16);
    append16(out, v & 0xffff);
}

std::vector<uint8_t> address_bytes(const std::string& text) {
    const Address a = address(text);
    return text.find(':') != std::string::npos ? std::vector<uint8_t>(a.begin(), a.end())
                                               : std::vector<uint8_t>(a.begin() + 12, a.end());
}

/// Checksum over pseudo header and segment; 0 when the segment's own checksum is right.
uint16_t tcp_checksum(const std::vector<uint8_t>& source, const std::vector<uint8_t>& destination,
                      const Frame& tcp) {
    Frame sum;
    append(sum, source);
    append(sum, destination);
    append32(sum, static_cast<uint32_t>(tcp.size()));
    append32(sum, kProtocolTcp);
    append(sum, tcp);
    return internet_checksum(sum);
}

Frame ip_header(const TcpSegment& s, size_t tcp_size) {
    Frame ip;
    if (s.source.find(':') != std::string::npos) {
        append32(ip, 0x60000000);
        append16(ip, static_cast<unsigned>(tcp_size));
        append16(ip, kProtocolTcp << 8 | 64);
    } else {
        append16(ip, 0x4500);
        append16(ip, static_cast<unsigned>(20 + tcp_size));
        append32(ip, 0x00004000);
        append32(ip, 64u << 24 | kProtocolTcp << 16);
    }
    append(ip, address_bytes(s.source));
    append(ip, address_bytes(s.destination));
    if (ip.size() == 20) store16(&ip[10], internet_checksum(ip));
    return ip;
}

}  // namespace

Address address(const std::string& text) {
    Address out{};
    if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
    out = {};
    out[10] = out[11] = 0xff;
    if (inet_pton(AF_INET, text.c_str(), &out[12]) != 1) throw std::invalid_argument(text);
    return out;
}

Frame TcpSegment::frame() const {
    Frame padded = options;
    while (padded.size() % 4) padded.push_back(1);
    Frame tcp;
    append16(tcp, source_port);
    append16(tcp, destination_port);
    append32(tcp, seq);
    append32(tcp, ack);
    append16(tcp, static_cast<unsigned>((20 + padded.size()) / 4 << 12 | flags));
    append16(tcp, 64000);
    append32(tcp, 0);
    append(tcp, padded);
    append(tcp, payload);
    store16(&tcp[16], tcp_checksum(address_bytes(source), address_bytes(destination), tcp));

    Frame out;
    append(out, destination_mac);
    append(out, source_mac);
    append16(out, source.find(':') != std::string::npos ? kEtherTypeIpv6 : kEtherTypeIpv4);
    append(out, ip_header(*this, tcp.size()));
    append(out, tcp);
    return out;
}

Frame datagram(const std::string& source, const std::string& destination, uint16_t port,
               std::span<const uint8_t> payload) {
    Frame udp;
    append16(udp, 40000);
    append16(udp, port);
    append16(udp, static_cast<unsigned>(8 + payload.size()));
    append16(udp, 0);
    append(udp, payload);
    Frame ip = ip_header({.source = source, .destination = destination}, udp.size());
    const bool ipv6 = ip[0] >> 4 == 6;
    ip[ipv6 ? 6 : 9] = kProtocolUdp;
    Frame out;
    append(out, kFrontMac);
    append(out, kClientMac);
    append16(out, ipv6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    append(out, ip);
    append(out, udp);
    return out;
}

std::vector<uint8_t> linux_syn_options(uint16_t mss, uint8_t wscale, uint32_t tsval) {
    Frame o = {2, 4};
    append16(o, mss);
    append(o, Frame{4, 2, 8, 10});
    append32(o, tsval);
    append32(o, 0);
    append(o, Frame{1, 3, 3, wscale});
    return o;
}

std::vector<uint8_t> timestamp_option(uint32_t tsval, uint32_t tsecr) {
    Frame o = {1, 1, 8, 10};
    append32(o, tsval);
    append32(o, tsecr);
    return o;
}

Frame tagged(const Frame& frame, const std::vector<uint16_t>& vlans) {
    Frame tags;
    for (size_t i = 0; i < vlans.size(); i++) {
        append16(tags, i + 1 < vlans.size() ? kEtherTypeQinq : kEtherTypeVlan);
        append16(tags, vlans[i]);
    }
    Frame out = frame;
    out.insert(out.begin() + 12, tags.begin(), tags.end());
    return out;
}

Frame with_ip_options(const Frame& frame, const std::vector<uint8_t>& options) {
    Frame out = frame;
    out.insert(out.begin() + 34, options.begin(), options.end());
    out[14] = static_cast<uint8_t>(0x45 + options.size() / 4);
    store16(&out[16], static_cast<uint16_t>(load16(&out[16]) + options.size()));
    store16(&out[24], 0);
    const Frame header(out.begin() + 14, out.begin() + 34 + static_cast<ptrdiff_t>(options.size()));
    store16(&out[24], internet_checksum(header));
    return out;
}

Frame with_extension(const Frame& frame, uint8_t kind, uint8_t eights) {
    Frame header(8 + size_t{eights} * 8);
    header[0] = frame[20];
    header[1] = eights;
    Frame out = frame;
    out.insert(out.begin() + 54, header.begin(), header.end());
    out[20] = kind;
    store16(&out[18], static_cast<uint16_t>(load16(&out[18]) + header.size()));
    return out;
}

Frame too_big(const std::string& router, const Frame& about, size_t quoted) {
    const bool ipv6 = load16(&about[12]) == kEtherTypeIpv6;
    const size_t size = std::min(quoted, about.size() - 14);
    // the frame of a TCP segment with the quote for its payload, then another header in TCP's place
    const Headers h = parse_headers(about);
    std::string back(64, 0);
    const Address& server = h.tuple.source;
    inet_ntop(ipv6 ? AF_INET6 : AF_INET, ipv6 ? server.data() : &server[12], back.data(), 64);
    Frame out = TcpSegment{.source = router, .destination = back.c_str(), .payload = Frame(size)}.frame();
    const size_t ip = ipv6 ? 40 : 20;
    Frame icmp = ipv6 ? Frame{2, 0, 0, 0} : Frame{3, 4, 0, 0};
    append32(icmp, 1300);
    icmp.insert(icmp.end(), about.begin() + 14, about.begin() + 14 + static_cast<ptrdiff_t>(size));
    out.resize(14 + ip);
    append(out, icmp);
    out[ipv6 ? 20 : 23] = ipv6 ? kProtocolIcmp6 : kProtocolIcmp;
    store16(&out[ipv6 ? 18 : 16], static_cast<uint16_t>(icmp.size() + (ipv6 ? 0 : ip)));
    return out;
}

bool tcp_checksum_good(const Frame& frame) {
    const Headers h = parse_headers(frame);
    const size_t width = h.ipv6 ? 16 : 4, skip = 16 - width;
    const std::vector<uint8_t> source(h.tuple.source.begin() + static_cast<ptrdiff_t>(skip),
                                      h.tuple.source.end());
    const std::vector<uint8_t> destination(h.tuple.destination.begin() + static_cast<ptrdiff_t>(skip),
                                           h.tuple.destination.end());
    const Frame tcp(frame.begin() + h.l4, frame.begin() + h.payload + h.payload_size);
    return h.layout == Layout::tcp && tcp_checksum(source, destination, tcp) == 0;
}

bool ip_checksum_good(const Frame& frame) {
    if (load16(&frame[12]) == kEtherTypeIpv6) return true;
    return internet_checksum(Frame(frame.begin() + 14, frame.begin() + 34)) == 0;
}

}  // namespace keyrail::test
