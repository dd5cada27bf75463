// SPDX-License-Identifier: Apache-2.0
// A worker that stands still is told from one that gets no CPU; and a thread's own stack is seen from
// outside.
#include "dataplane/link/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "dataplane/link/backtrace.h"

namespace keyrail {
namespace {

using Found = Standstill::Found;
constexpr uint64_t kMsOfCpu = 1'000'000;

TEST(Standstill, WhoTurnsMoves) {
    Standstill one;
    for (uint64_t i = 1; i < 10; i++) EXPECT_EQ(one.look(i, {'S', i}), Found::moves);
}

/// It waits for something, or goes round without an end.
TEST(Standstill, WhoDoesNotTurnForThreeLooksStandsStill) {
    for (const char letter : {'S', 'D', 't', 'R'}) {
        Standstill one;
        uint64_t cpu = 5'000 * kMsOfCpu;
        EXPECT_EQ(one.look(7, {letter, cpu}), Found::moves);
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(one.look(7, {letter, cpu += 240 * kMsOfCpu}), Found::moves) << letter;
        for (int i = 0; i < 5; i++)
            EXPECT_EQ(one.look(7, {letter, cpu += 240 * kMsOfCpu}), Found::still) << letter;
        EXPECT_EQ(one.look(8, {letter, cpu}), Found::moves);
        EXPECT_EQ(one.look(8, {letter, cpu}), Found::moves) << "it begins anew";
    }
}

TEST(Standstill, WhoGetsNoCpuDoesNot) {
    Standstill one;
    uint64_t cpu = 5'000 * kMsOfCpu;
    one.look(7, {'R', cpu});
    for (int i = 0; i < 2; i++) EXPECT_EQ(one.look(7, {'R', cpu += 20 * kMsOfCpu}), Found::moves);
    EXPECT_EQ(one.look(7, {'R', cpu += 20 * kMsOfCpu}), Found::starved);
    EXPECT_EQ(one.look(7, {'R', cpu += 300 * kMsOfCpu}), Found::still)
        << "it has had a quarter of a second by now";
}

TEST(Standstill, OneThatHasGoneIsNobody) {
    Standstill one;
    for (int i = 0; i < 10; i++) EXPECT_EQ(one.look(7, {}), Found::moves);
}

TEST(ThreadState, IsWhatTheKernelSays) {
    EXPECT_EQ(state_of(gettid()).letter, 'R');
    EXPECT_GT(state_of(gettid()).cpu_ns, 0u);
    EXPECT_EQ(state_of(1 << 30).letter, 0);
}

/// A worker that goes round without an end, as the watchdog's thread sees it.
TEST(Watchdog, TellsOnceWhoStandsStillAndWhere) {
    if (std::getenv("KR_EMULATED_CPU") != nullptr)
        GTEST_SKIP() << "QEMU's user mode has no frame of a signal to unwind";
    const auto stats = std::make_unique<WorkerStats>();
    const auto shared = std::make_unique<Shared>();
    std::atomic<bool> go_on{false}, end{false};
    std::thread worker([&] {
        shared->worker_thread[0] = gettid();
        while (!end)
            if (go_on) stats->turns.add();
    });
    std::atomic<int> told{0};
    std::vector<std::string> calls;
    {
        Watchdog watchdog({stats.get()}, *shared, [&](uint16_t index, const std::vector<std::string>& where) {
            EXPECT_EQ(index, 0);
            calls = where;
            told++;
        });
        for (int i = 0; i < 20'000 && told == 0; i++) usleep(1000);
        usleep(600'000);
        EXPECT_EQ(told, 1) << "and not again";
        go_on = true;
    }
    end = true;
    worker.join();
    ASSERT_GT(calls.size(), 2u) << "the loop, its thread, and what a thread begins in";
    EXPECT_THAT(calls, testing::Contains(testing::HasSubstr("dataplane_test+0x")));
    EXPECT_TRUE(trace_of(1 << 30, std::chrono::milliseconds(1)).empty()) << "no such thread";
}

}  // namespace
}  // namespace keyrail
