// SPDX-License-Identifier: Apache-2.0
// Keeps this machine's idle cores from sleeping while sessions are being moved (`stay_awake`): to wake a core
// takes longer than what a move's message has it do (control/README.md has figures).
//
// The kernel is asked by PM QoS (Documentation/power/pm_qos_interface.rst): as long as a process has
// /dev/cpu_dma_latency open and has written 0 to it, idle cores poll instead of halting.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace asio {
class io_context;
}

namespace keyrail {

/// Unless a configuration says otherwise, and the longest that one may ask for.
inline constexpr std::chrono::microseconds kStayAwake{1'000'000}, kMaxStayAwake{60'000'000};

class Wakefulness {
  public:
    /// Lets go when nothing was needed for `stay`; 0: never asks. `io` outlives this; `device`: tests give
    /// another one.
    Wakefulness(asio::io_context& io, std::chrono::microseconds stay,
                std::string device = "/dev/cpu_dma_latency");
    ~Wakefulness();
    Wakefulness(const Wakefulness&) = delete;
    Wakefulness& operator=(const Wakefulness&) = delete;

    /// A move begins. The first time the kernel is asked, after what was sent for the move is on its way;
    /// from then on only the time is noted, until it lets go.
    void needed();
    /// What holds from now on.
    void configure(std::chrono::microseconds stay);
    /// The kernel keeps cores awake for us.
    [[nodiscard]] bool awake() const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // a wait that is over already may see that it is gone
};

}  // namespace keyrail
