// SPDX-License-Identifier: Apache-2.0
// Bytes as people write them: two hex digits each, nothing between them.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace keyrail {

/// nullopt: an odd number of digits, or something else than digits.
inline std::optional<std::string> from_hex(std::string_view digits) {
    if (digits.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (size_t i = 0; i < digits.size(); i += 2) {
        uint8_t byte = 0;
        const char* pair = digits.data() + i;
        const auto [end, failed] = std::from_chars(pair, pair + 2, byte, 16);
        if (failed != std::errc{} || end != pair + 2) return std::nullopt;
        bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
}

inline std::string to_hex(std::span<const uint8_t> bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string digits;
    for (const uint8_t byte : bytes) {
        digits.push_back(kDigits[byte >> 4]);
        digits.push_back(kDigits[byte & 15]);
    }
    return digits;
}
inline std::string to_hex(std::string_view bytes) {
    return to_hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace keyrail
