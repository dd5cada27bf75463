// SPDX-License-Identifier: Apache-2.0
// An ICMP error about a packet, written over it: to its sender, in the name of where it was going. It quotes
// as much as an error may have: 576 bytes of IPv4 in all (RFC 1812 section 4.3.2.3), the least MTU of IPv6
// (RFC 4443 section 2.4). Pure.
#pragma once

#include <cstdint>

namespace keyrail {

/// Type and code as they stand in the header, for each family.
struct IcmpError {
    uint16_t ipv4, ipv6;
};
inline constexpr IcmpError kPortUnreachable{0x0303, 0x0104};  // RFC 792; RFC 4443 section 3.1
inline constexpr IcmpError kTooBig{0x0304, 0x0200};           // RFC 1191 section 4; RFC 4443 section 3.2

/// Bytes of the error's IP packet about one of `size` bytes: at most 48 more.
uint32_t icmp_error_size(uint32_t size, bool ipv6);
/// `ip`: the packet, `size` bytes of it are there, without IPv4 options, and room for icmp_error_size().
/// `rest`: the header's second word, as a number. Returns icmp_error_size().
uint32_t write_icmp_error(uint8_t* ip, uint32_t size, bool ipv6, IcmpError error, uint32_t rest);

}  // namespace keyrail
