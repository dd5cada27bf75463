// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/answers.h"

#include <algorithm>
#include <optional>

#include "dataplane/rewrite/icmp_error.h"
#include "dataplane/rewrite/l2.h"
#include "dataplane/wire/header_writer.h"

namespace keyrail {
namespace {

/// Where the header behind IP is, and what; IPv6 extension headers and IPv4 options are nothing that is
/// answered.
struct PlainUpper {
    uint8_t protocol;
    uint16_t at, end;  // offsets in the frame
};
std::optional<PlainUpper> plain_upper(const Packet& packet) {
    const Headers& h = packet.h;
    const std::span<const uint8_t> frame = packet.frame();
    const size_t fixed = h.ipv6 ? kIpv6Size : kIpv4Min;
    if (frame.size() < h.l3 + fixed) return std::nullopt;
    const uint8_t* ip = &frame[h.l3];
    if (!h.ipv6 && ip[0] != 0x45) return std::nullopt;
    const size_t end = h.l3 + (h.ipv6 ? kIpv6Size + load16(ip + 4) : load16(ip + 2));
    if (end > frame.size() || end < h.l3 + fixed) return std::nullopt;
    return PlainUpper{h.ipv6 ? ip[6] : ip[9], static_cast<uint16_t>(h.l3 + fixed),
                      static_cast<uint16_t>(end)};
}

/// RFC 1122 section 3.2.2: nobody is told anything about what comes from no single host.
bool single_host(const Headers& h) {
    const Address& source = h.tuple.source;
    if (h.ipv6)
        return source[0] != 0xff && std::ranges::any_of(source, [](uint8_t byte) { return byte != 0; });
    return source[12] != 0 && source[12] != 127 && source[12] < 224;
}

/// IP header of an answer, from the VIP to who asked. Returns the sum of the pseudo header, which ICMP for
/// IPv4 does not use.
uint64_t write_answer_ip(uint8_t* ip, const Headers& h, uint8_t protocol, uint32_t size) {
    const Tuple& t = h.tuple;
    if (h.ipv6) return write_ipv6(ip, t.destination, t.source, size, protocol);
    return write_ipv4(ip, load32_raw(&t.destination[12]), load32_raw(&t.source[12]), size, protocol);
}

/// Whole again: what was between Ethernet and the answer's IP header stays, VLAN tags.
void send_back(Packet& packet, size_t size, Reason reason) {
    swap_macs(packet.data);
    set_size(packet, static_cast<uint16_t>(size));
    packet.decide(Action::reply, reason);
}

void answer_echo(Packet& packet, const PlainUpper& icmp) {
    uint8_t* at = packet.data + icmp.at;
    const auto size = static_cast<uint32_t>(icmp.end - icmp.at);
    const uint64_t pseudo = write_answer_ip(packet.data + packet.h.l3, packet.h,
                                            packet.h.ipv6 ? kProtocolIcmp6 : kProtocolIcmp, size);
    at[0] = packet.h.ipv6 ? 129 : 0;  // echo reply
    at[2] = at[3] = 0;
    HeaderWriter sum(at);
    sum.count((packet.h.ipv6 ? pseudo : 0) + sum_of({at, size}));
    sum.put_checksum(at + 2);
    send_back(packet, icmp.end, Reason::ping_answered);
}

bool is_echo_request(const Packet& packet, const PlainUpper& upper) {
    if (upper.protocol != (packet.h.ipv6 ? kProtocolIcmp6 : kProtocolIcmp)) return false;
    if (upper.end < upper.at + kIcmpHeader) return false;
    return packet.data[upper.at] == (packet.h.ipv6 ? 128 : 8) && packet.data[upper.at + 1] == 0;
}

void port_unreachable(Packet& packet, const PlainUpper& upper) {
    const Headers& h = packet.h;
    const uint32_t size = upper.end - uint32_t{h.l3}, total = h.l3 + icmp_error_size(size, h.ipv6);
    const std::span<uint8_t> room = room_for(packet, total);
    if (room.empty()) return packet.decide(Action::drop, Reason::drop_no_memory);
    write_icmp_error(&room[h.l3], size, h.ipv6, kPortUnreachable, 0);
    send_back(packet, total, Reason::refused_icmp);
}

/// RFC 9293 section 3.10.7.1. The segment's own acknowledgement says where its sender takes a RST.
void reset(Packet& packet) {
    const Headers& h = packet.h;
    const size_t ip_size = h.ipv6 ? kIpv6Size : kIpv4Min, total = h.l3 + ip_size + kTcpMin;
    const std::span<uint8_t> room = room_for(packet, total);
    if (room.empty()) return packet.decide(Action::drop, Reason::drop_no_memory);
    const bool acknowledges = (h.flags & kAck) != 0;
    const uint32_t length = h.payload_size + ((h.flags & kSyn) != 0) + ((h.flags & kFin) != 0);
    HeaderWriter tcp(&room[h.l3 + ip_size]);
    tcp.count(write_answer_ip(&room[h.l3], h, kProtocolTcp, kTcpMin));
    tcp.put(uint32_t{h.tuple.destination_port} << 16 | h.tuple.source_port);
    tcp.put(acknowledges ? h.ack.value() : 0);
    tcp.put(acknowledges ? 0 : (h.seq + length).value());
    tcp.put(uint32_t{kTcpMin / 4} << 28 | static_cast<uint32_t>(acknowledges ? kRst : kRst | kAck) << 16);
    tcp.put_raw(0);
    tcp.put_checksum(&room[h.l3 + ip_size + 16]);
    send_back(packet, total, Reason::refused_reset);
}

}  // namespace

void refuse(Packet& packet, Refuse how, Reason silent, Context& context) {
    if (how == Refuse::drop || (packet.h.flags & kRst) != 0 || !single_host(packet.h))
        return packet.decide(Action::drop, silent);
    if (!context.refusals.take(context.clock.us))
        return packet.decide(Action::drop, Reason::drop_answer_limit);
    reset(packet);
}

void to_bare_vip(Packet& packet, const Vip& vip, Context& context) {
    if (packet.h.layout == Layout::tcp) return refuse(packet, vip.refuse, Reason::drop_no_service, context);
    if (packet.h.layout != Layout::other_ip) return;
    const auto upper = plain_upper(packet);
    if (!upper || !single_host(packet.h)) return;
    if (is_echo_request(packet, *upper)) {
        if (!vip.ping || !vip.served) return packet.decide(Action::drop, Reason::drop_no_ping);
        if (!context.pings.take(context.clock.us))
            return packet.decide(Action::drop, Reason::drop_answer_limit);
        return answer_echo(packet, *upper);
    }
    if (upper->protocol != kProtocolUdp) return;
    if (vip.refuse == Refuse::drop) return packet.decide(Action::drop, Reason::drop_no_service);
    if (!context.refusals.take(context.clock.us))
        return packet.decide(Action::drop, Reason::drop_answer_limit);
    port_unreachable(packet, *upper);
}

}  // namespace keyrail
