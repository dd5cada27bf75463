// SPDX-License-Identifier: Apache-2.0
// Who has ended no turn since the last look.
#include "dataplane/link/worker_watch.h"

#include <gtest/gtest.h>

#include <memory>

namespace keyrail {
namespace {

struct WorkerWatchTest : ::testing::Test {
    std::vector<std::unique_ptr<WorkerStats>> workers = [] {
        std::vector<std::unique_ptr<WorkerStats>> made;
        for (int i = 0; i < 3; i++) made.push_back(std::make_unique<WorkerStats>());
        return made;
    }();
    WorkerWatch watch{{workers[0].get(), workers[1].get(), workers[2].get()}};

    void turn(size_t worker) { workers[worker]->turns.add(); }
};

TEST_F(WorkerWatchTest, NobodyAtFirst) { EXPECT_EQ(watch.stuck(), std::nullopt); }

TEST_F(WorkerWatchTest, NobodyWhileAllTurn) {
    for (int second = 0; second < 3; second++) {
        EXPECT_EQ(watch.stuck(), std::nullopt);
        for (size_t worker = 0; worker < 3; worker++) turn(worker);
    }
    EXPECT_EQ(watch.stuck(), std::nullopt);
}

TEST_F(WorkerWatchTest, TheOneThatDoesNotUntilItDoes) {
    EXPECT_EQ(watch.stuck(), std::nullopt);
    for (int second = 0; second < 3; second++) {
        turn(0);
        turn(2);
        EXPECT_EQ(watch.stuck(), 1);
    }
    for (size_t worker = 0; worker < 3; worker++) turn(worker);
    EXPECT_EQ(watch.stuck(), std::nullopt);
}

TEST_F(WorkerWatchTest, TheFirstOfSeveral) {
    EXPECT_EQ(watch.stuck(), std::nullopt);
    turn(0);
    EXPECT_EQ(watch.stuck(), 1);
}

}  // namespace
}  // namespace keyrail
