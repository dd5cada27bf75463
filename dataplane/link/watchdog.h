// SPDX-License-Identifier: Apache-2.0
// A worker that stands still is seen within a second. On a thread of its own, since the control thread may be
// waiting for that very worker.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/common/stats.h"
#include "dataplane/core/shared.h"

namespace keyrail {

/// What the kernel says of a thread.
struct ThreadState {
    char letter =
        0;  // of /proc/PID/stat: R it runs or wants to, S and D it waits, T and t it is stopped; 0: gone
    uint64_t cpu_ns = 0;  // it has had
};
ThreadState state_of(int thread);

/// Looks at one worker again and again.
class Standstill {
  public:
    static constexpr std::chrono::milliseconds kLook{250};
    static constexpr uint32_t kLooks = 3;  // without a turn

    /// starved: it wants to run, but the machine gives it no CPU, which no restart would change.
    enum class Found : uint8_t { moves, starved, still };
    Found look(uint64_t turns, const ThreadState& thread);

  private:
    uint64_t turns_ = 0, cpu_ns_ = 0;  // at the last turn
    uint32_t looks_ = 0;               // since then
};

class Watchdog {
  public:
    /// `workers` by index. `still` is called on the watchdog's thread, once for each time that a worker
    /// stands still; `where`: the calls that it is in, innermost first (link/backtrace.h). All outlive it.
    Watchdog(std::vector<const WorkerStats*> workers, const Shared& shared,
             std::function<void(uint16_t worker, const std::vector<std::string>& where)> still);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

  private:
    void run();
    void look_at(uint16_t worker);

    std::vector<const WorkerStats*> workers_;
    const Shared& shared_;
    std::function<void(uint16_t, const std::vector<std::string>&)> still_;
    std::vector<Standstill> standstills_;
    std::vector<Standstill::Found> found_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool end_ = false;
    std::thread thread_;
};

}  // namespace keyrail
