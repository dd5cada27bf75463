// SPDX-License-Identifier: Apache-2.0
// The loop of keyraild and keyrail-agent: sleeps until there is something, or looks on for a while
// (`busy_poll`).
#pragma once

#include <chrono>
#include <cstdint>

namespace asio {
class io_context;
}

namespace keyrail {

/// The longest that a configuration may ask for.
inline constexpr std::chrono::microseconds kMaxBusyPoll{10'000};

/// Runs until `io` is stopped. After each piece of work it looks for the next one, yielding between the
/// looks, and sleeps only when there was none for `busy_poll`: a move is five messages one after the other,
/// and to be woken for each costs more than to handle it (control/README.md has figures). 0: sleeps at once.
void run_loop(asio::io_context& io, std::chrono::microseconds busy_poll);

/// CPU time in ns that run_loop() has spent on this thread looking in vain: nobody's work.
[[nodiscard]] uint64_t polled_in_vain_ns();
/// CPU time in ns that this thread has used.
[[nodiscard]] uint64_t thread_cpu_ns();

}  // namespace keyrail
