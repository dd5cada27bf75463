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

class Urgency;

/// The share of a CPU for which keyraild and keyrail-agent run before everything else (urgency.h): some 2500
/// lone moves a second, and what a drain does beyond that has no hurry.
inline constexpr double kUrgentShare = 0.2;
/// The highest core that may be named for that.
inline constexpr int64_t kMaxCore = 1023;

/// The longest that a configuration may ask for.
inline constexpr std::chrono::microseconds kMaxBusyPoll{10'000};

/// Runs until `io` is stopped. After each piece of work it looks for the next one, yielding between the
/// looks, and sleeps only when there was none for `busy_poll`: a move is five messages one after the other,
/// and to be woken for each costs more than to handle it (control/README.md has figures). 0: sleeps at once.
/// `urgency`: of this thread; it is told of each wake-up. nullptr: there is none.
void run_loop(asio::io_context& io, std::chrono::microseconds busy_poll, Urgency* urgency = nullptr);

/// The next message of a move that a client waits for comes in a moment: run_loop() of this thread looks for
/// it for so long, rather than sleep and be woken. Until nothing_soon(), or the time is over.
inline constexpr std::chrono::microseconds kSoon{300};
void expect_soon();
void nothing_soon();

/// CPU time in ns that run_loop() has spent on this thread looking in vain: nobody's work.
[[nodiscard]] uint64_t polled_in_vain_ns();
/// CPU time in ns that this thread has used.
[[nodiscard]] uint64_t thread_cpu_ns();

}  // namespace keyrail
