// SPDX-License-Identifier: Apache-2.0
#include "control/store/published.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace keyrail {
namespace {

struct Pair {
    uint64_t first, second;  // always the same number
};

TEST(Published, NothingIsThereAtFirst) {
    const Published<Pair> nothing{};
    EXPECT_FALSE(nothing.read([](const Pair&) { FAIL(); }));
}

TEST(Published, AReaderIsNotDisturbedByAWriterThatIsNotDone) {
    Published<Pair> published{};
    published.publish({1, 1});
    std::vector<Pair> seen;
    EXPECT_TRUE(published.read([&](const Pair& value) {
        const uint64_t first = value.first;
        if (seen.empty()) published.publish({2, 2});  // all that a writer does to what is being read: nothing
        seen.push_back({first, value.second});
    }));
    ASSERT_EQ(seen.size(), 2u) << "read again, for it had changed";
    EXPECT_EQ(seen[0].second, 1u);
    EXPECT_EQ(seen[1].first, 2u);
    EXPECT_EQ(seen[1].second, 2u);
}

TEST(Published, ReadersFindWholeValuesWhileItChanges) {
    Published<Pair> published{};
    published.publish({1, 1});
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        for (uint64_t i = 2; !stop; i++) {
            published.publish({i, i});
            if (i % 8 == 0) std::this_thread::yield();
        }
    });
    for (int i = 0; i < 20'000; i++) {
        Pair value{};
        if (!published.read([&](const Pair& now) { value = now; })) continue;
        EXPECT_EQ(value.first, value.second);
    }
    stop = true;
    writer.join();
}

}  // namespace
}  // namespace keyrail
