// SPDX-License-Identifier: Apache-2.0
// What moves cost the agent in CPU time: what its thread used in a second with moves, beyond what it uses
// without any.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <utility>

namespace keyrail {

class MoveMeter {
  public:
    /// Call it every second, with the number of moves so far.
    void measure(uint64_t moves) {
        const uint64_t now = thread_ns();
        const uint64_t used = now - std::exchange(last_ns_, now);
        if (std::exchange(moves_, moves) == moves)
            idle_ns_ = (3 * idle_ns_ + used) / 4;
        else
            cpu_ns_ += used - std::min(used, idle_ns_);
    }
    [[nodiscard]] uint64_t cpu_ns() const { return cpu_ns_; }

  private:
    static uint64_t thread_ns() {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
    }
    uint64_t last_ns_ = thread_ns(), idle_ns_ = 0, moves_ = 0, cpu_ns_ = 0;
};

}  // namespace keyrail
