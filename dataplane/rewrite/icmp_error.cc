// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/icmp_error.h"

#include <algorithm>
#include <cstring>

#include "dataplane/wire/header_writer.h"

namespace keyrail {
namespace {

constexpr uint32_t before_quote(bool ipv6) { return (ipv6 ? kIpv6Size : kIpv4Min) + kIcmpHeader; }

/// The IP header in front of `length` bytes of ICMP, addresses turned round. Returns what the checksum of
/// ICMP begins with: for IPv6 the pseudo header, for IPv4 nothing.
uint64_t write_ip(uint8_t* ip, bool ipv6, uint32_t length) {
    if (ipv6) {
        Address source, destination;
        std::memcpy(source.data(), ip + 8, sizeof source);
        std::memcpy(destination.data(), ip + 24, sizeof destination);
        return write_ipv6(ip, destination, source, length, kProtocolIcmp6);
    }
    const uint32_t source = load32_raw(ip + 12), destination = load32_raw(ip + 16);
    write_ipv4(ip, destination, source, length, kProtocolIcmp);
    return 0;
}

}  // namespace

uint32_t icmp_error_size(uint32_t size, bool ipv6) {
    return std::min(before_quote(ipv6) + size, ipv6 ? 1280u : 576u);
}

uint32_t write_icmp_error(uint8_t* ip, uint32_t size, bool ipv6, IcmpError error, uint32_t rest) {
    const uint32_t total = icmp_error_size(size, ipv6), quote = total - before_quote(ipv6);
    uint8_t* quoted = ip + before_quote(ipv6);
    std::memmove(quoted, ip, quote);
    HeaderWriter header(quoted - kIcmpHeader);
    header.count(write_ip(ip, ipv6, kIcmpHeader + quote));
    header.put(uint32_t{ipv6 ? error.ipv6 : error.ipv4} << 16);  // type, code, checksum
    header.put(rest);
    header.count(sum_of({quoted, quote}));
    header.put_checksum(quoted - kIcmpHeader + 2);
    return total;
}

}  // namespace keyrail
