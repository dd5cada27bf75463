// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/event_loop.h"

#include <sched.h>

#include <asio/io_context.hpp>
#include <ctime>

#include "dataplane/common/urgency.h"

namespace keyrail {

namespace {

using Clock = std::chrono::steady_clock;

thread_local uint64_t in_vain_ns = 0;
thread_local Clock::time_point soon_until;

/// Ends when there was nothing for so long, or somebody else wanted the CPU for so long; not before what
/// comes soon is there.
void look_on(asio::io_context& io, std::chrono::microseconds busy_poll, Urgency* urgency) {
    const uint64_t began = thread_cpu_ns();
    uint64_t worked = 0;
    const auto goes_on = [&](Clock::time_point last) {
        const auto now = Clock::now();
        return now - last < busy_poll || now < soon_until;
    };
    for (auto last = Clock::now(); !io.stopped() && goes_on(last);) {
        const uint64_t before = thread_cpu_ns();
        if (io.poll() > 0) {
            worked += thread_cpu_ns() - before;
            last = Clock::now();
            if (urgency != nullptr) urgency->look();
        } else {
            sched_yield();
        }
    }
    in_vain_ns += thread_cpu_ns() - began - worked;
}

/// What else is there already, but not for ever: a budget has to be looked at.
void finish_turn(asio::io_context& io) {
    constexpr int kMost = 64;
    for (int i = 0; i < kMost && io.poll_one() > 0; i++) {
    }
}

}  // namespace

void expect_soon() { soon_until = Clock::now() + kSoon; }
void nothing_soon() { soon_until = {}; }

uint64_t polled_in_vain_ns() { return in_vain_ns; }

uint64_t thread_cpu_ns() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

void run_loop(asio::io_context& io, std::chrono::microseconds busy_poll, Urgency* urgency) {
    if (busy_poll.count() == 0 && urgency == nullptr) {
        io.run();
        return;
    }
    while (io.run_one() > 0) {
        finish_turn(io);
        if (busy_poll.count() != 0 || soon_until != Clock::time_point{}) look_on(io, busy_poll, urgency);
        nothing_soon();
        if (urgency != nullptr) urgency->look();
    }
}

}  // namespace keyrail
