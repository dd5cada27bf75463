// SPDX-License-Identifier: Apache-2.0
// Looks whether a process holds parts of the store and does not give them back (it was stopped, or is
// hostile), and then renews it; says what became of a store that was replaced.
#pragma once

#include <chrono>

#include "control/agent/config.h"
#include "control/store/store.h"

namespace keyrail {

class StoreWatch {
  public:
    /// Both outlive this.
    StoreWatch(Store& store, const AgentConfig& config) : store_(store), config_(config) {}

    /// Call it every second. True: the store is a new one, which the servers have to be told things anew.
    bool look();
    void report() const;

  private:
    static constexpr int kHeldTooLong = 3;  // seconds
    static constexpr std::chrono::minutes kRenewalPause{1};

    Store& store_;
    const AgentConfig& config_;
    int held_for_s_ = 0;
    std::chrono::steady_clock::time_point renewed_{};
};

}  // namespace keyrail
