// SPDX-License-Identifier: Apache-2.0
// IP addresses and prefixes of both families as ordered values, and their text forms.
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
    uint8_t family = 0;  // AF_INET or AF_INET6
    std::array<uint8_t, 16> bytes{};

    auto operator<=>(const IpAddress&) const = default;
    [[nodiscard]] size_t size() const;   // 4 or 16
    [[nodiscard]] uint8_t bits() const;  // 32 or 128
    [[nodiscard]] bool is_link_local() const;
    [[nodiscard]] bool is_multicast() const;  // IPv4 limited broadcast counts as well
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

Result<IpAddress> parse_address(std::string_view text);
/// 4 or 16 raw bytes, as they come in messages.
Result<IpAddress> address_of_bytes(std::string_view bytes);
/// "192.0.2.1/24"; without a length, that of a host.
Result<Prefix> parse_prefix(std::string_view text);
/// "default via 192.0.2.254" or "10.0.0.0/8 via 192.0.2.254".
Result<StaticRoute> parse_route(std::string_view text);

}  // namespace keyrail
