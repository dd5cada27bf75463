// SPDX-License-Identifier: Apache-2.0
// The loop: one core, both sides, from the first connection to the report.
#pragma once

#include <atomic>
#include <functional>

#include "tools/lib/loadgen/blade_side.h"
#include "tools/lib/loadgen/client_side.h"
#include "tools/lib/loadgen/schedule.h"

namespace keyrail::loadgen {

class Generator {
  public:
    /// All of these outlive it.
    Generator(const Options& options, const Script& script, Port& front, Port& back, rte_mempool* pool);

    /// Runs until the time is over and the last connections have ended, or `stop`. `on_interval` hears of
    /// each interval.
    Report run(const std::atomic<bool>& stop, const std::function<void(const Interval&)>& on_interval);

  private:
    [[nodiscard]] uint64_t ticks(double seconds) const;
    void read_clock();
    void start_due();
    /// One turn of the loop. True: something had come.
    bool turn(bool starting);
    Report finished(double busy);
    void end_interval(const std::function<void(const Interval&)>& on_interval);

    const Options& options_;
    Port &front_, &back_;
    Report report_;
    ClientSide::Window window_;
    ClientSide clients_;
    BladeSide blades_;
    const Schedule schedule_;
    Clock clock_;
    const double hz_;
    uint64_t begin_ = 0;
    Counts at_last_interval_;
};

}  // namespace keyrail::loadgen
