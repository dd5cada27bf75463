// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/too_big.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

#include "dataplane/wire/header_writer.h"
#include "dataplane/wire/macs.h"

namespace keyrail {
namespace {

constexpr uint32_t kIcmpHeader = 8;
/// As much of the packet as an error may have: 576 bytes of IPv4 (RFC 1812 section 4.3.2.3), the least MTU of
/// IPv6 (RFC 4443 section 2.4).
constexpr uint32_t kQuote4 = 576 - kIpv4Min - kIcmpHeader, kQuote6 = 1280 - kIpv6Size - kIcmpHeader;

/// Destination unreachable, fragmentation needed (RFC 1191 section 4). Returns the length of the IP packet.
uint32_t write_error4(uint8_t* ip, uint32_t size, uint32_t mtu) {
    const uint32_t source = load32_raw(ip + 12), destination = load32_raw(ip + 16);
    const uint32_t quote = std::min(size, kQuote4) & ~3u;
    uint8_t* icmp = ip + kIpv4Min;
    std::memmove(icmp + kIcmpHeader, ip, quote);
    write_ipv4(ip, destination, source, kIcmpHeader + quote, kProtocolIcmp);
    HeaderWriter header(icmp);
    header.put(0x0304'0000);
    header.put(mtu);
    for (uint32_t i = 0; i < quote; i += 4) header.count(load32_raw(icmp + kIcmpHeader + i));
    header.put_checksum(icmp + 2);
    return kIpv4Min + kIcmpHeader + quote;
}

/// Packet too big (RFC 4443 section 3.2).
uint32_t write_error6(uint8_t* ip, uint32_t size, uint32_t mtu) {
    Address source, destination;
    std::memcpy(source.data(), ip + 8, sizeof source);
    std::memcpy(destination.data(), ip + 24, sizeof destination);
    const uint32_t quote = std::min(size, kQuote6) & ~3u;
    uint8_t* icmp = ip + kIpv6Size;
    std::memmove(icmp + kIcmpHeader, ip, quote);
    HeaderWriter header(icmp);
    header.count(write_ipv6(ip, destination, source, kIcmpHeader + quote, kProtocolIcmp6));
    header.put(0x0200'0000);
    header.put(mtu);
    for (uint32_t i = 0; i < quote; i += 4) header.count(load32_raw(icmp + kIcmpHeader + i));
    header.put_checksum(icmp + 2);
    return kIpv6Size + kIcmpHeader + quote;
}

}  // namespace

bool answer_too_big(rte_mbuf* mbuf, NextHop hop, Context& context) {
    auto* frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
    uint32_t l3 = kEthernetSize;
    while (l3 < kEthernetSize + kTagsMax && is_tag(frame + l3 - 2)) l3 += kTagSize;
    const bool ipv6 = load16(frame + l3 - 2) == kEtherTypeIpv6;
    uint8_t* ip = frame + l3;
    const uint32_t size = ipv6 ? kIpv6Size + load16(ip + 4) : load16(ip + 2);
    const uint32_t mtu = context.mtus.longest_frame[hop.port()] - kEthernetSize;
    if (size <= mtu || l3 + size > mbuf->data_len) return false;
    if (rte_mbuf_refcnt_read(mbuf) > 1 || !context.too_bigs.take(context.clock.us)) {
        context.tx.drop(mbuf, Reason::drop_too_big);
        return true;
    }
    const uint32_t length = ipv6 ? write_error6(ip, size, mtu) : write_error4(ip, size, mtu);
    const Macs came = read_macs(frame);
    write_macs(frame, {came.source, came.destination});
    mbuf->data_len = static_cast<uint16_t>(l3 + length);
    mbuf->pkt_len = l3 + length;
    context.tx.send(context.ports.index_of(mbuf->port), mbuf);
    context.stats.count(Reason::too_big_answered);
    return true;
}

}  // namespace keyrail
