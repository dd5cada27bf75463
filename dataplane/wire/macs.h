// SPDX-License-Identifier: Apache-2.0
// The two addresses of an Ethernet header, read and written as words: 12 bytes by two stores, none of which
// straddles the other. An address is the low 48 bits of a word, in the order in which it lies in the frame.
#pragma once

#include <tmmintrin.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace keyrail {

using MacAddress = std::array<uint8_t, 6>;

/// The low 48 bits of a word are a MAC address, as it lies in a frame.
inline constexpr uint64_t kMacMask = 0xffff'ffff'ffff;

struct Macs {
    uint64_t destination, source;
};

inline Macs read_macs(const uint8_t* ethernet) {
    uint64_t first = 0;
    uint32_t last = 0;
    std::memcpy(&first, ethernet, sizeof first);
    std::memcpy(&last, ethernet + sizeof first, sizeof last);
    return {first & kMacMask, first >> 48 | uint64_t{last} << 16};
}

/// Is the frame for this address, a word?
inline bool is_to(const uint8_t* ethernet, uint64_t mac) {
    uint64_t first = 0;
    std::memcpy(&first, ethernet, sizeof first);
    return (first ^ mac) << 16 == 0;  // what is behind the address falls out
}

inline void write_macs(uint8_t* ethernet, const Macs& macs) {
    const uint64_t first = macs.destination | macs.source << 48;
    const auto last = static_cast<uint32_t>(macs.source >> 16);
    std::memcpy(ethernet, &first, sizeof first);
    std::memcpy(ethernet + sizeof first, &last, sizeof last);
}

/// Back to where it came from: one shuffle of 16 bytes, which must be there (what is behind the addresses
/// stays).
inline void swap_macs(uint8_t* ethernet) {
    const __m128i order = _mm_setr_epi8(6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15);
    auto* at = reinterpret_cast<__m128i*>(ethernet);
    _mm_storeu_si128(at, _mm_shuffle_epi8(_mm_loadu_si128(at), order));
}

}  // namespace keyrail
