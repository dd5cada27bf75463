// SPDX-License-Identifier: Apache-2.0
// Writes IP and TCP headers word by word and sums them up on the way: what was just written by words would
// have to be read again by larger ones, for which a CPU waits. Pure.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/wire/headers.h"

namespace keyrail {

/// A word of a header, as it lies in the packet: what is known beforehand need not be turned round for each.
constexpr uint32_t wire(uint32_t host) { return __builtin_bswap32(host); }

class HeaderWriter {
  public:
    explicit HeaderWriter(uint8_t* at) : at_(at) {}

    void put_raw(uint32_t word) {
        std::memcpy(at_, &word, sizeof word);
        at_ += sizeof word;
        sum_ += word;
    }
    void put(uint32_t host) { put_raw(wire(host)); }
    void put(const uint8_t* address, size_t words) {
        for (size_t i = 0; i < words; i++) put_raw(load32_raw(address + 4 * i));
    }
    /// Is summed up, but not written.
    void count(uint64_t sum) { sum_ += sum; }
    /// Of the words as they lie there: a checksum does not depend on the order of bytes (RFC 1071
    /// section 2.B).
    [[nodiscard]] uint64_t sum() const { return sum_; }
    [[nodiscard]] uint8_t* at() const { return at_; }
    void put_checksum(uint8_t* at) const {
        // Both halves, and in the upper one the carry of the lower one.
        const auto sum = static_cast<uint32_t>((sum_ + std::rotl(sum_, 32)) >> 32);
        const auto checksum = static_cast<uint16_t>(~((sum + std::rotl(sum, 16)) >> 16));
        std::memcpy(at, &checksum, sizeof checksum);
    }

  private:
    uint8_t* at_;
    uint64_t sum_ = 0;
};

/// Sums up bytes as they lie there, an odd one padded with zero (RFC 1071).
inline uint64_t sum_of(std::span<const uint8_t> bytes) {
    uint64_t sum = 0;
    for (; bytes.size() >= 4; bytes = bytes.subspan(4)) sum += load32_raw(bytes.data());
    std::array<uint8_t, 4> rest{};
    std::ranges::copy(bytes, rest.begin());
    return sum + load32_raw(rest.data());
}

inline constexpr uint8_t kTtl = 64;

/// The header of a TCP segment, or what else `protocol` says, of `length` bytes; addresses as they lie in
/// packets. Returns the sum of the pseudo header (RFC 9293 section 3.1), where the TCP header's sum begins.
inline uint64_t write_ipv4(uint8_t* ip, uint32_t source, uint32_t destination, uint32_t length,
                           uint8_t protocol = kProtocolTcp) {
    HeaderWriter header(ip);
    header.put(uint32_t{0x4500} << 16 | (kIpv4Min + length));
    header.put_raw(wire(0x4000));  // don't fragment
    header.put_raw(wire(uint32_t{kTtl} << 24 | uint32_t{protocol} << 16));
    header.put_raw(source);
    header.put_raw(destination);
    header.put_checksum(ip + 10);
    return uint64_t{source} + destination + wire(protocol + length);
}

inline uint64_t write_ipv6(uint8_t* ip, const Address& source, const Address& destination, uint32_t length,
                           uint8_t protocol = kProtocolTcp) {
    HeaderWriter header(ip);
    header.put_raw(wire(uint32_t{6} << 28));
    header.put(length << 16 | uint32_t{protocol} << 8 | kTtl);
    const uint64_t before = header.sum();
    header.put(source.data(), 4);
    header.put(destination.data(), 4);
    return header.sum() - before + wire(protocol + length);
}

}  // namespace keyrail
