// SPDX-License-Identifier: Apache-2.0
#include "dataplane/common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace keyrail {

namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

bool IpAddress::is_v6() const { return family == AF_INET6; }
size_t IpAddress::size() const {
    if (family == 0) return 0;
    return is_v6() ? sizeof(in6_addr) : sizeof(in_addr);
}
uint8_t IpAddress::bits() const { return static_cast<uint8_t>(size() * 8); }
bool IpAddress::is_any() const { return bytes == std::array<uint8_t, 16>{}; }

bool IpAddress::is_link_local() const {
    return family == AF_INET6 ? bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80
                              : bytes[0] == 169 && bytes[1] == 254;
}

bool IpAddress::is_multicast() const {
    if (family == AF_INET6) return bytes[0] == 0xff;
    constexpr std::array<uint8_t, 4> kBroadcast = {255, 255, 255, 255};
    return (bytes[0] & 0xf0) == 0xe0 || std::equal(kBroadcast.begin(), kBroadcast.end(), bytes.begin());
}

std::string IpAddress::text() const {
    char buffer[INET6_ADDRSTRLEN] = "(no address)";
    if (family != 0) inet_ntop(family, bytes.data(), buffer, sizeof buffer);
    return buffer;
}

std::string_view IpAddress::raw() const { return {reinterpret_cast<const char*>(bytes.data()), size()}; }

std::array<uint8_t, 16> IpAddress::mapped() const {
    if (is_v6()) return bytes;
    std::array<uint8_t, 16> result{};
    std::copy_n(bytes.begin(), sizeof(in_addr), std::ranges::copy(kMapped, result.begin()).out);
    return result;
}

IpAddress IpAddress::unmapped() const {
    if (!is_v6() || !std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return *this;
    IpAddress result{.family = AF_INET};
    std::copy_n(bytes.begin() + kMapped.size(), sizeof(in_addr), result.bytes.begin());
    return result;
}

std::string HostPort::text() const {
    return address.is_v6() ? fmt::format("[{}]:{}", address.text(), port)
                           : fmt::format("{}:{}", address.text(), port);
}

Prefix Prefix::masked() const {
    Prefix result{.address = {.family = address.family}, .length = length};
    const size_t whole = length / 8;
    std::copy_n(address.bytes.begin(), whole, result.address.bytes.begin());
    if (length % 8 != 0) {
        result.address.bytes[whole] = static_cast<uint8_t>(address.bytes[whole] & (0xff00u >> (length % 8)));
    }
    return result;
}

bool Prefix::contains(const IpAddress& other) const {
    return other.family == address.family && Prefix{other, length}.masked() == masked();
}

std::string Prefix::text() const { return fmt::format("{}/{}", address.text(), length); }

Result<IpAddress> parse_ip(std::string_view text) {
    IpAddress address{.family = static_cast<uint8_t>(text.find(':') != text.npos ? AF_INET6 : AF_INET)};
    const bool whole = text.find('\0') == text.npos;
    if (!whole || inet_pton(address.family, std::string(text).c_str(), address.bytes.data()) != 1) {
        return fail("'{}' is not an IP address; write it in numbers, such as 192.0.2.1 or 2001:db8::1", text);
    }
    return address;
}

Result<HostPort> parse_host_port(std::string_view text) {
    const auto wrong = [&] {
        return fail("'{}' is not an address and port; write 192.0.2.1:7400 or [2001:db8::1]:7400", text);
    };
    const size_t colon = text.rfind(':');
    if (colon == text.npos) return wrong();
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

Result<IpAddress> address_of_bytes(std::string_view bytes) {
    if (bytes.size() != sizeof(in_addr) && bytes.size() != sizeof(in6_addr)) {
        return fail("an address has {} bytes; it must have 4 or 16", bytes.size());
    }
    IpAddress address{.family = static_cast<uint8_t>(bytes.size() == sizeof(in_addr) ? AF_INET : AF_INET6)};
    std::memcpy(address.bytes.data(), bytes.data(), bytes.size());
    return address;
}

Result<Prefix> parse_prefix(std::string_view text) {
    const size_t slash = text.find('/');
    auto address = parse_ip(text.substr(0, slash));
    if (!address) return tl::make_unexpected(address.error());
    Prefix prefix{*address, address->bits()};
    if (slash == text.npos) return prefix;
    const std::string_view digits = text.substr(slash + 1);
    unsigned length = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), length);
    if (error != std::errc{} || end != digits.end() || length > prefix.length) {
        return fail("'{}': the prefix length must be 0 to {}", text, prefix.length);
    }
    prefix.length = static_cast<uint8_t>(length);
    return prefix;
}

Result<StaticRoute> parse_route(std::string_view text) {
    constexpr std::string_view kVia = " via ";
    const size_t via = text.find(kVia);
    if (via == text.npos) return fail("'{}' is not a route; write it like 'default via 192.0.2.254'", text);
    auto gateway = parse_ip(text.substr(via + kVia.size()));
    if (!gateway) return tl::make_unexpected(gateway.error());
    const std::string_view to = text.substr(0, via);
    if (to == "default") return StaticRoute{Prefix{IpAddress{.family = gateway->family}, 0}, *gateway};
    auto destination = parse_prefix(to);
    if (!destination) return tl::make_unexpected(destination.error());
    if (destination->address.family != gateway->family) {
        return fail("'{}': destination and gateway must be of one IP version", text);
    }
    return StaticRoute{destination->masked(), *gateway};
}

}  // namespace keyrail
