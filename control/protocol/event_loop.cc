// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/event_loop.h"

#include <sched.h>

#include <asio/io_context.hpp>
#include <ctime>

namespace keyrail {

namespace {

thread_local uint64_t in_vain_ns = 0;

/// Ends when there was nothing for so long, or somebody else wanted the CPU for so long.
void look_on(asio::io_context& io, std::chrono::microseconds busy_poll) {
    using Clock = std::chrono::steady_clock;
    const uint64_t began = thread_cpu_ns();
    uint64_t worked = 0;
    for (auto last = Clock::now(); !io.stopped() && Clock::now() - last < busy_poll;) {
        const uint64_t before = thread_cpu_ns();
        if (io.poll() > 0) {
            worked += thread_cpu_ns() - before;
            last = Clock::now();
        } else {
            sched_yield();
        }
    }
    in_vain_ns += thread_cpu_ns() - began - worked;
}

}  // namespace

uint64_t polled_in_vain_ns() { return in_vain_ns; }

uint64_t thread_cpu_ns() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void run_loop(asio::io_context& io, std::chrono::microseconds busy_poll) {
    if (busy_poll.count() == 0) {
        io.run();
        return;
    }
    while (io.run_one() > 0) look_on(io, busy_poll);
}

}  // namespace keyrail
