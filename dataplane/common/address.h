// SPDX-License-Identifier: Apache-2.0
// IP addresses, prefixes and "address:port" of both families as ordered values, and their forms in texts and
// messages. Numeric only: nothing is resolved.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

namespace keyrail {

/// An address in network order; IPv4 uses the first four bytes, the others are zero.
struct IpAddress {
    uint8_t family = 0;  // AF_INET or AF_INET6; 0: no address
    std::array<uint8_t, 16> bytes{};

    auto operator<=>(const IpAddress&) const = default;
    [[nodiscard]] bool is_v6() const;
    [[nodiscard]] size_t size() const;   // 4 or 16; 0: no address
    [[nodiscard]] uint8_t bits() const;  // 32 or 128
    [[nodiscard]] bool is_any() const;   // 0.0.0.0 or ::
    [[nodiscard]] bool is_link_local() const;
    [[nodiscard]] bool is_multicast() const;  // IPv4 limited broadcast counts as well
    [[nodiscard]] std::string text() const;
    /// The `size()` bytes that messages carry.
    [[nodiscard]] std::string_view raw() const;
    /// IPv4 as IPv6 (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), which sockets of both families write; and
    /// back.
    [[nodiscard]] std::array<uint8_t, 16> mapped() const;
    [[nodiscard]] IpAddress unmapped() const;
};

struct HostPort {
    IpAddress address;
    uint16_t port = 0;

    auto operator<=>(const HostPort&) const = default;
    /// "10.77.0.1:7400" or "[fd77::1]:7400"
    [[nodiscard]] std::string text() const;
};

/// An address and how many of its leading bits count. Host bits may be set ("192.0.2.1/24" of an interface).
struct Prefix {
    IpAddress address;
    uint8_t length = 0;

    auto operator<=>(const Prefix&) const = default;
    [[nodiscard]] bool contains(const IpAddress& other) const;
    [[nodiscard]] Prefix masked() const;  // host bits cleared
    [[nodiscard]] std::string text() const;
};

/// "via" routes of a profile: destination and gateway, same family.
struct StaticRoute {
    Prefix destination;
    IpAddress gateway;
};

Result<IpAddress> parse_ip(std::string_view text);
Result<HostPort> parse_host_port(std::string_view text);
/// 4 or 16 raw bytes, as they come in messages.
Result<IpAddress> address_of_bytes(std::string_view bytes);
/// "192.0.2.1/24"; without a length, that of a host.
Result<Prefix> parse_prefix(std::string_view text);
/// "default via 192.0.2.254" or "10.0.0.0/8 via 192.0.2.254".
Result<StaticRoute> parse_route(std::string_view text);

}  // namespace keyrail
