// SPDX-License-Identifier: Apache-2.0
// The moves that ended last, for whoever looks (`keyrail move list`).
#pragma once

#include <cstdint>
#include <deque>

#include "control/daemon/moves/orders.h"

namespace keyrail {

struct PastMove {
    MoveOrder order;
    MoveResult result = MoveResult::lost;
    uint64_t ended_ms = 0;             // unix time
    std::chrono::microseconds took{};  // from the order to its end
    uint64_t number = 0;               // ascending
};

class LatestMoves {
  public:
    static constexpr size_t kKept = 200;

    void add(const FinishedMove& move, MoveResult result, uint64_t unix_ms,
             std::chrono::steady_clock::time_point now) {
        if (moves_.size() == kKept) moves_.pop_front();
        moves_.push_back({move.order, result, unix_ms,
                          std::chrono::duration_cast<std::chrono::microseconds>(now - move.started),
                          ++last_});
    }
    /// Oldest first.
    [[nodiscard]] const std::deque<PastMove>& all() const { return moves_; }

  private:
    std::deque<PastMove> moves_;
    uint64_t last_ = 0;
};

}  // namespace keyrail
