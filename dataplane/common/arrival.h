// SPDX-License-Identifier: Apache-2.0
// The shortest way back of a move. As soon as a session is in its store, the target's agent says so straight
// to the dispatcher that holds the hello, by one UDP datagram, which a worker reads. It only ends the hold:
// keyraild hears of the move as ever, and says where the session is (MoveOutcome), some wake-ups later.
//
//   "KRarrive" | move id:8 | token:8        big-endian
//
// A worker makes the token for one hold. It goes to keyraild with the request, and from there to the target
// with the announcement, both by ways that nobody else reads; so who shows it has been told that the session
// would come. It is good for that hold only.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace keyrail {

inline constexpr uint16_t kArrivalPort = 7402;  // UDP, at the dispatcher's backplane addresses

/// What is to be said, and at which port. Port 0: nobody waits for it.
struct Arrival {
    uint64_t move_id = 0, token = 0;
    uint16_t port = 0;
};

inline constexpr size_t kArrivalSize = 24;
using ArrivalBytes = std::array<uint8_t, kArrivalSize>;
inline constexpr std::array<uint8_t, 8> kArrivalMark = {'K', 'R', 'a', 'r', 'r', 'i', 'v', 'e'};

inline ArrivalBytes bytes_of(const Arrival& arrival) {
    ArrivalBytes bytes{};
    const std::array<uint64_t, 2> words = {__builtin_bswap64(arrival.move_id),
                                           __builtin_bswap64(arrival.token)};
    std::memcpy(bytes.data(), kArrivalMark.data(), kArrivalMark.size());
    std::memcpy(&bytes[kArrivalMark.size()], words.data(), sizeof words);
    return bytes;
}

/// nullopt: it is none.
inline std::optional<Arrival> arrival_of(std::span<const uint8_t> bytes) {
    if (bytes.size() != kArrivalSize || std::memcmp(bytes.data(), kArrivalMark.data(), kArrivalMark.size()))
        return std::nullopt;
    std::array<uint64_t, 2> words{};
    std::memcpy(words.data(), &bytes[kArrivalMark.size()], sizeof words);
    return Arrival{__builtin_bswap64(words[0]), __builtin_bswap64(words[1]), kArrivalPort};
}

}  // namespace keyrail
