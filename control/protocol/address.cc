// SPDX-License-Identifier: Apache-2.0
// IP addresses and "address:port": text to bytes and back.
#include "control/protocol/address.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>

namespace keyrail {

std::string IpAddress::text() const {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    if (bytes.size() != 4 && bytes.size() != 16) return "(no address)";
    inet_ntop(is_v6() ? AF_INET6 : AF_INET, bytes.data(), buffer.data(), buffer.size());
    return buffer.data();
}

std::string HostPort::text() const {
    return address.is_v6() ? fmt::format("[{}]:{}", address.text(), port)
                           : fmt::format("{}:{}", address.text(), port);
}

Result<IpAddress> parse_ip(std::string_view text) {
    const std::string z(text);
    std::array<char, 16> raw{};
    if (z.find('\0') == std::string::npos) {
        if (inet_pton(AF_INET, z.c_str(), raw.data()) == 1) return IpAddress{std::string(raw.data(), 4)};
        if (inet_pton(AF_INET6, z.c_str(), raw.data()) == 1) return IpAddress{std::string(raw.data(), 16)};
    }
    return fail("'{}' is not an IP address; write it in numbers, such as 192.0.2.1 or 2001:db8::1", text);
}

Result<HostPort> parse_host_port(std::string_view text) {
    const auto wrong = [&] {
        return fail("'{}' is not an address and port; write 192.0.2.1:7400 or [2001:db8::1]:7400", text);
    };
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return wrong();
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = parse_ip(host);
    if (!address || address->is_v6() != bracketed) return wrong();

    const std::string_view digits = text.substr(colon + 1);
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size()) return wrong();
    return HostPort{*address, port};
}

}  // namespace keyrail
