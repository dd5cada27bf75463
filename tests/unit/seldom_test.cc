// SPDX-License-Identifier: Apache-2.0
// What happens again and again is said once a minute, with how often.
#include "control/protocol/seldom.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

using std::chrono::seconds;

TEST(Seldom, SaysItOnceThenOnceAMinuteWithACount) {
    Seldom log;
    const Seldom::Clock::time_point start{seconds(1000)};
    EXPECT_EQ(log.happened("a", start), 1u);
    for (int i = 1; i < 60; i++) EXPECT_EQ(log.happened("a", start + seconds(i)), std::nullopt);
    EXPECT_EQ(log.happened("b", start + seconds(59)), 1u) << "another thing";
    EXPECT_EQ(log.happened("a", start + seconds(60)), 60u);
    EXPECT_EQ(log.happened("a", start + seconds(61)), std::nullopt);
    log.over("a");
    EXPECT_EQ(log.happened("a", start + seconds(62)), 1u);
}

/// Who is told apart by what a peer chooses must not make memory without end.
TEST(Seldom, IsBounded) {
    Seldom log;
    const Seldom::Clock::time_point start{seconds(1000)};
    size_t said = 0;
    for (size_t i = 0; i < 10 * Seldom::kMax; i++) said += log.happened(std::to_string(i), start) ? 1 : 0;
    EXPECT_LE(said, Seldom::kMax + 1);
    EXPECT_EQ(log.happened("later", start + seconds(60)), 1u) << "those that are silent are forgotten";
}

}  // namespace
}  // namespace keyrail
