// SPDX-License-Identifier: Apache-2.0
// A thread that runs before others keeps to its budget.
#include "dataplane/common/urgency.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <thread>

namespace keyrail {
namespace {

constexpr int64_t kMs = 1'000'000;

TEST(UrgencyBudget, LittleWorkIsAlwaysUrgent) {
    UrgencyBudget budget(0.2, 20 * kMs);
    for (int i = 0; i < 1000; i++) ASSERT_TRUE(budget.spend(10 * kMs, kMs)) << "a tenth of a CPU";
}

TEST(UrgencyBudget, ABurstIsForgivenMoreIsNot) {
    UrgencyBudget budget(0.2, 20 * kMs);
    EXPECT_TRUE(budget.spend(15 * kMs, 15 * kMs));
    EXPECT_FALSE(budget.spend(15 * kMs, 15 * kMs));
    EXPECT_FALSE(budget.spend(30 * kMs, 0)) << "not before half of it is there again";
    EXPECT_TRUE(budget.spend(100 * kMs, 0));
}

TEST(UrgencyBudget, WhoSpendsAllTheTimeIsUrgentForItsShareOfIt) {
    UrgencyBudget budget(0.2, 20 * kMs);
    int64_t urgent = 0;
    constexpr int64_t kSteps = 100'000;
    bool now = true;
    for (int64_t i = 0; i < kSteps; i++) {
        urgent += now;
        now = budget.spend(kMs, now ? kMs : 0);  // it gets the CPU only while it is urgent
    }
    EXPECT_NEAR(static_cast<double>(urgent) / kSteps, 0.2, 0.02);
}

TEST(UrgencyBudget, APauseIsEnoughHoweverDeepTheDebt) {
    UrgencyBudget budget(0.2, 20 * kMs);
    EXPECT_FALSE(budget.spend(40 * kMs, 40 * kMs));
    EXPECT_TRUE(budget.spend(250 * kMs, 0));
    EXPECT_FALSE(budget.spend(1000 * kMs, 1000 * kMs));
    EXPECT_TRUE(budget.spend(250 * kMs, 0));
}

TEST(UrgencyBudget, APauseOfHoursIsNoHugeBudget) {
    UrgencyBudget budget(0.2, 20 * kMs);
    EXPECT_TRUE(budget.spend(int64_t{3600} * 1000 * kMs, 0));
    EXPECT_FALSE(budget.spend(25 * kMs, 26 * kMs));
}

int policy() { return sched_getscheduler(0) & ~SCHED_RESET_ON_FORK; }

void burn(std::chrono::nanoseconds time) {
    const auto now = [] {
        timespec t{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return std::chrono::nanoseconds(int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec);
    };
    for (const auto end = now() + time; now() < end;) {
    }
}

/// In a thread of its own: it must not change the test's.
template <typename Body>
void in_a_thread(Body body) {
    std::thread(body).join();
}

TEST(Urgency, IsOfItsThreadAloneAndEndsWithItsBudget) {
    in_a_thread([] {
        {
            Urgency urgency(0.2);
            if (urgency.text() != "real-time") GTEST_SKIP() << urgency.text();
            EXPECT_EQ(policy(), SCHED_RR);
            std::thread([] { EXPECT_EQ(policy(), SCHED_OTHER); }).join();
            burn(2 * Urgency::kBurst);
            urgency.look();
            EXPECT_FALSE(urgency.urgent());
            EXPECT_EQ(policy(), SCHED_OTHER);
            std::this_thread::sleep_for(std::chrono::milliseconds(250));
            urgency.look();
            EXPECT_TRUE(urgency.urgent());
            EXPECT_EQ(policy(), SCHED_RR);
        }
        EXPECT_EQ(policy(), SCHED_OTHER);
    });
    EXPECT_EQ(policy(), SCHED_OTHER);
}

/// Of this thread.
cpu_set_t usable() {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    EXPECT_EQ(sched_getaffinity(0, sizeof cores, &cores), 0);
    return cores;
}

TEST(Urgency, IsOnItsCoreAsLongAsItLasts) {
    in_a_thread([] {
        const cpu_set_t before = usable();
        if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one core";
        unsigned core = CPU_SETSIZE - 1;
        while (!CPU_ISSET(core, &before)) core--;
        const auto is_there = [&] {
            const cpu_set_t now = usable();
            return CPU_COUNT(&now) == 1 && CPU_ISSET(core, &now);
        };
        const auto is_anywhere = [&] {
            const cpu_set_t now = usable();
            return CPU_EQUAL(&now, &before) != 0;
        };
        {
            Urgency urgency(0.2, core);
            if (!urgency.urgent()) GTEST_SKIP() << urgency.text();
            EXPECT_TRUE(is_there());
            burn(2 * Urgency::kBurst);
            urgency.look();
            EXPECT_TRUE(is_anywhere()) << "a drain may use them all";
            std::this_thread::sleep_for(std::chrono::milliseconds(250));
            urgency.look();
            EXPECT_TRUE(is_there());
        }
        EXPECT_TRUE(is_anywhere());
    });
}

TEST(Urgency, ACoreThatIsNotThereIsSaid) {
    in_a_thread([] {
        const cpu_set_t before = usable();
        unsigned missing = 0;
        while (CPU_ISSET(missing, &before)) missing++;
        const Urgency urgency(0.2, missing), another(0.2, 100'000u);
        EXPECT_NE(urgency.text().find("is not one of this process's"), std::string::npos) << urgency.text();
        EXPECT_NE(another.text().find("100000 is not"), std::string::npos) << another.text();
        const cpu_set_t now = usable();
        EXPECT_TRUE(CPU_EQUAL(&now, &before));
    });
}

TEST(Urgency, WhatItStartsMayRunWhereTheProcessMay) {
    in_a_thread([] {
        const cpu_set_t before = usable();
        unsigned core = 0;
        while (!CPU_ISSET(core, &before)) core++;
        const Urgency urgency(0.2, core);
        std::thread([&] {
            run_anywhere();
            const cpu_set_t now = usable();
            EXPECT_TRUE(CPU_EQUAL(&now, &before));
        }).join();
    });
}

TEST(Urgency, AThreadThatComesToNoEndIsNormalBeforeItsMachineNotices) {
    const pid_t child = fork();
    if (child == 0) {
        const Urgency urgency(0.2);
        if (urgency.text() != "real-time") _exit(0);
        burn(std::chrono::milliseconds(400));
        _exit(policy() == SCHED_OTHER ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace keyrail
