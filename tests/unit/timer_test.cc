// SPDX-License-Identifier: Apache-2.0
// Timer: its callback runs once, and never when the timer is gone, cancelled or set again.
#include "control/protocol/timer.h"

#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <optional>

namespace keyrail {
namespace {

using namespace std::chrono_literals;

struct TimerTest : ::testing::Test {
    asio::io_context io;
    std::optional<Timer> timer{std::in_place, io.get_executor()};
    int runs = 0;
};

TEST_F(TimerTest, RunsOnce) {
    timer->after(1ms, [this] { runs++; });
    EXPECT_TRUE(timer->running());
    io.run();
    EXPECT_EQ(runs, 1);
    EXPECT_FALSE(timer->running());
}

TEST_F(TimerTest, SetsItselfAgain) {
    timer->after(0us, [this] {
        EXPECT_FALSE(timer->running());
        if (++runs < 3) timer->after(0us, [this] { runs += 10; });
    });
    io.run();
    EXPECT_EQ(runs, 11);
}

TEST_F(TimerTest, TheLatestCallbackCounts) {
    timer->after(0us, [this] { runs += 100; });
    timer->after(0us, [this] { runs++; });
    io.run();
    EXPECT_EQ(runs, 1);
}

TEST_F(TimerTest, Cancelled) {
    timer->after(0us, [this] { runs++; });
    timer->cancel();
    EXPECT_FALSE(timer->running());
    io.run();
    EXPECT_EQ(runs, 0);
}

/// The wait is over and its handler queued, when the owner goes.
TEST_F(TimerTest, DestroyedAfterItsTime) {
    Timer first(io.get_executor());
    first.after(0us, [this] { timer.reset(); });
    timer->after(0us, [this] { runs++; });
    io.run();
    EXPECT_EQ(runs, 0);
}

TEST_F(TimerTest, DestroyedByItsOwnCallback) {
    timer->after(0us, [this] {
        timer.reset();
        runs++;
    });
    io.run();
    EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace keyrail
