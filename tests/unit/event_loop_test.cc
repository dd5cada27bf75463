// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/event_loop.h"

#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

namespace keyrail {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

/// A timer three times, and a handler that follows from the last one; what was polled in vain meanwhile.
uint64_t run_some(microseconds busy_poll) {
    asio::io_context io(1);
    asio::steady_timer timer(io);
    const uint64_t before = polled_in_vain_ns();
    int left = 3;
    bool over = false;
    std::function<void(const asio::error_code&)> tick = [&](const asio::error_code&) {
        if (--left == 0) return asio::post(io, [&] { over = true; });
        timer.expires_after(milliseconds(2));
        timer.async_wait(tick);
    };
    asio::post(io, [&] { tick({}); });
    run_loop(io, busy_poll);
    EXPECT_TRUE(over) << "it ended before there was nothing left to do";
    return polled_in_vain_ns() - before;
}

TEST(EventLoop, LooksOnOnlyWhenItIsTold) {
    EXPECT_EQ(run_some(microseconds(0)), 0U);
    EXPECT_GT(run_some(microseconds(200)), 0U);
}

TEST(EventLoop, StopsWhileItLooksOn) {
    asio::io_context io(1);
    asio::steady_timer never(io, std::chrono::hours(1));
    never.async_wait([](const asio::error_code&) {});
    asio::post(io, [&] { asio::post(io, [&] { io.stop(); }); });
    run_loop(io, kMaxBusyPoll);
    EXPECT_TRUE(io.stopped());
}

/// What a handler takes while the loop looks on is work: a move is charged for it.
TEST(EventLoop, WorkIsNotInVain) {
    asio::io_context io(1);
    const auto burn = [] {
        for (const uint64_t begin = thread_cpu_ns(); thread_cpu_ns() - begin < 20'000'000;) {
        }
    };
    asio::post(io, [&] { asio::post(io, burn); });
    const uint64_t before = polled_in_vain_ns();
    run_loop(io, kMaxBusyPoll);
    EXPECT_LT(polled_in_vain_ns() - before, 20'000'000U);
}

}  // namespace
}  // namespace keyrail
