// SPDX-License-Identifier: Apache-2.0
// What counters have grown by: also where they begin anew, or nobody says.
#include "control/daemon/events/trend.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

constexpr uint64_t kStart = 1'000'000;

TrendTotals totals(uint64_t resumed, uint64_t full, std::optional<uint64_t> drops = 0) {
    TrendTotals all;
    all.blades[BladeId::or_none(1)] = {resumed, full};
    all.drops = drops;
    return all;
}

TEST(Trend, TheFirstIsOnlyWhereCountingBegins) {
    Trend trend;
    trend.take(kStart, totals(1000, 500));
    EXPECT_TRUE(trend.samples().empty());
    trend.take(kStart + 5000, totals(1010, 502, 7));
    ASSERT_EQ(trend.samples().size(), 1u);
    const TrendSample& sample = trend.samples().back();
    EXPECT_EQ(sample.unix_ms, kStart + 5000);
    EXPECT_DOUBLE_EQ(sample.seconds, 5);
    EXPECT_EQ(sample.resumed, 10u);
    EXPECT_EQ(sample.full, 2u);
    EXPECT_EQ(sample.drops, 7u);
}

TEST(Trend, ABladeThatComesBringsNothingOfItsPast) {
    Trend trend;
    trend.take(kStart, totals(10, 10));
    TrendTotals two = totals(11, 10);
    two.blades[BladeId::or_none(2)] = {100'000, 50'000};
    trend.take(kStart + 5000, two);
    EXPECT_EQ(trend.samples().back().resumed, 1u);
    two.blades[BladeId::or_none(2)] = {100'004, 50'001};
    trend.take(kStart + 10000, two);
    EXPECT_EQ(trend.samples().back().resumed, 4u);
    EXPECT_EQ(trend.samples().back().full, 1u);
}

TEST(Trend, ABladeThatWasAwayCatchesUp) {
    Trend trend;
    trend.take(kStart, totals(10, 10));
    trend.take(kStart + 5000, TrendTotals());
    EXPECT_EQ(trend.samples().back().resumed, 0u);
    trend.take(kStart + 10000, totals(30, 10));
    EXPECT_EQ(trend.samples().back().resumed, 20u);
}

TEST(Trend, ACounterThatBeginsAnewHasGrownByWhatItSays) {
    Trend trend;
    trend.take(kStart, totals(1000, 500, 90));
    trend.take(kStart + 5000, totals(3, 1, 2));
    EXPECT_EQ(trend.samples().back().resumed, 3u);
    EXPECT_EQ(trend.samples().back().full, 1u);
    EXPECT_EQ(trend.samples().back().drops, 2u);
}

TEST(Trend, DropsThatNobodySaysAreNone) {
    Trend trend;
    trend.take(kStart, totals(0, 0, 50));
    trend.take(kStart + 5000, totals(0, 0, std::nullopt));
    EXPECT_EQ(trend.samples().back().drops, 0u);
    trend.take(kStart + 10000, totals(0, 0, 57));
    EXPECT_EQ(trend.samples().back().drops, 7u);
}

TEST(Trend, KeepsAnHour) {
    Trend trend;
    for (size_t i = 0; i < 2 * Trend::kKept; i++) trend.take(kStart + 5000 * i, totals(i, 0));
    EXPECT_EQ(trend.samples().size(), Trend::kKept);
    EXPECT_EQ(trend.samples().front().resumed, 1u);
}

}  // namespace
}  // namespace keyrail
