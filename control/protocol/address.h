// SPDX-License-Identifier: Apache-2.0
// IP addresses and "address:port" as they stand in configurations and messages. Numeric only: nothing is
// resolved.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

namespace keyrail {

struct IpAddress {
    std::string bytes;  // 4 or 16, network order: as link.proto carries them

    [[nodiscard]] bool is_v6() const { return bytes.size() == 16; }
    [[nodiscard]] std::string text() const;
    auto operator<=>(const IpAddress&) const = default;
};

struct HostPort {
    IpAddress address;
    uint16_t port = 0;

    /// "10.77.0.1:7400" or "[fd77::1]:7400"
    [[nodiscard]] std::string text() const;
    auto operator<=>(const HostPort&) const = default;
};

Result<IpAddress> parse_ip(std::string_view text);
Result<HostPort> parse_host_port(std::string_view text);

}  // namespace keyrail
