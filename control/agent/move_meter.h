// SPDX-License-Identifier: Apache-2.0
// What moves cost the agent in CPU time: what its thread used in a second with many moves, beyond what it
// uses without any. A second with few of them says nothing (what else the agent does would count as theirs,
// and a move would seem to cost milliseconds): those cost what they did the last time that there were many.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "control/protocol/event_loop.h"

namespace keyrail {

class MoveMeter {
  public:
    static constexpr uint64_t kMany = 100;

    /// Call it every second, with the number of moves so far.
    void measure(uint64_t moves) {
        const uint64_t now = worked_ns();
        measure(moves, now - std::exchange(last_ns_, now));
    }
    /// The same, with what the thread used since.
    void measure(uint64_t moves, uint64_t used_ns) {
        const uint64_t fresh = moves - std::exchange(moves_, moves);
        if (fresh == 0) idle_ns_ = (3 * idle_ns_ + used_ns) / 4;
        if (fresh >= kMany) mean_ns_ = (used_ns - std::min(used_ns, idle_ns_)) / fresh;
        cpu_ns_ += fresh * mean_ns_;
    }
    [[nodiscard]] uint64_t cpu_ns() const { return cpu_ns_; }

  private:
    static uint64_t worked_ns() { return thread_cpu_ns() - polled_in_vain_ns(); }
    uint64_t last_ns_ = worked_ns(), idle_ns_ = 0, moves_ = 0, mean_ns_ = 0, cpu_ns_ = 0;
};

}  // namespace keyrail
