// SPDX-License-Identifier: Apache-2.0
// What systemd hears of a daemon whose work is done by one loop: that it is ready, that it moves, that it
// ends.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>

#include "control/protocol/timer.h"

namespace keyrail {

/// Made when the daemon is ready, and says so; destroyed when it ends. Between, systemd's watchdog is fed by
/// the loop itself: a loop that hangs feeds nothing.
class Pulse {
  public:
    explicit Pulse(const asio::any_io_executor& loop);
    ~Pulse();
    Pulse(const Pulse&) = delete;
    Pulse& operator=(const Pulse&) = delete;

  private:
    void beat();

    Timer timer_;
    const std::chrono::microseconds interval_;  // 0: nobody waits for it
};

}  // namespace keyrail
