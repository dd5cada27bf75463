// SPDX-License-Identifier: Apache-2.0
// When something happened, for the profile of a move (move_stages.h): all processes of one machine share this
// clock. No system call (vDSO).
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace keyrail {

inline uint64_t stamp_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

/// steady_clock is CLOCK_MONOTONIC.
inline uint64_t stamp_ns(std::chrono::steady_clock::time_point time) {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

/// From one stamp to a later one, in microseconds; -1: they are not of one clock, or not there.
inline int64_t stage_us(uint64_t from_ns, uint64_t to_ns) {
    constexpr uint64_t kLongest = 10'000'000'000;  // longer than an order lives
    if (from_ns == 0 || to_ns < from_ns || to_ns - from_ns > kLongest) return -1;
    return static_cast<int64_t>((to_ns - from_ns) / 1000);
}

}  // namespace keyrail
