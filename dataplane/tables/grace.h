// SPDX-License-Identifier: Apache-2.0
// When all workers have seen the latest change to what they read.
#pragma once

#include <rte_rcu_qsbr.h>
#include <sched.h>

#include <cstdint>
#include <ctime>

namespace keyrail {

/// Without `rcu` nobody reads, and all is seen at once.
class Grace {
  public:
    explicit Grace(rte_rcu_qsbr* rcu) : rcu_(rcu) {}
    void changed() {
        if (rcu_ != nullptr) token_ = rte_rcu_qsbr_start(rcu_);
        pending_ = rcu_ != nullptr;
    }
    /// Yields, then sleeps: on a machine of few cores the worker waited for may need this very one, and to a
    /// worker of lower priority an urgent thread yields nothing.
    void wait() {
        constexpr int kYields = 64;
        const timespec moment{0, 20'000};
        for (int i = 0; pending_ && rte_rcu_qsbr_check(rcu_, token_, false) == 0; i++)
            i < kYields ? static_cast<void>(sched_yield()) : static_cast<void>(nanosleep(&moment, nullptr));
        pending_ = false;
    }

  private:
    rte_rcu_qsbr* rcu_;
    uint64_t token_ = 0;
    bool pending_ = false;
};

}  // namespace keyrail
