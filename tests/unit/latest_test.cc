// SPDX-License-Identifier: Apache-2.0
// Which record of a session is the latest, and which ones are copies.
#include "control/daemon/moves/latest.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

using Verdict = Latest::Verdict;

LatestState state(uint32_t uses, uint8_t digest = 0, bool gone = false) {
    LatestState made{uses, {}, gone};
    made.digest.fill(digest);
    return made;
}
SessionName name_of(uint8_t byte) {
    SessionName name;
    name.fill(byte);
    return name;
}
constexpr uint64_t kExpires = 1000;

TEST(Latest, GoesForward) {
    Latest latest;
    const SessionName name = name_of(1);
    EXPECT_EQ(latest.judge(name, state(7)), Verdict::fresh) << "the first word";
    struct {
        const char* what;
        LatestState state;
        Verdict verdict;
    } const rows[] = {
        {"made", state(0, 1), Verdict::fresh},
        {"said again", state(0, 1), Verdict::same},
        {"as new, but of another handshake: two sessions of one name", state(0, 2), Verdict::stale},
        {"used", state(1, 3), Verdict::fresh},
        {"used twice since, one report was lost", state(3, 4), Verdict::fresh},
        {"an old backup", state(1, 3), Verdict::stale},
        {"a copy that was used as often, but otherwise", state(3, 5), Verdict::stale},
        {"used up", state(0, 0, true), Verdict::fresh},
        {"used up, twice said", state(0, 0, true), Verdict::same},
        {"a replayed record", state(3, 4), Verdict::stale},
        {"a replayed record that was used", state(9, 9), Verdict::stale},
    };
    for (const auto& row : rows) {
        EXPECT_EQ(latest.judge(name, row.state), row.verdict) << row.what;
        EXPECT_EQ(latest.tell(1, name, row.state, kExpires).verdict, row.verdict) << row.what;
    }
    EXPECT_TRUE(latest.find(name)->gone);
}

TEST(Latest, SaysWhoMayHaveACopy) {
    Latest latest;
    const SessionName name = name_of(1);
    EXPECT_FALSE(latest.tell(1, name, state(0, 1), kExpires).superseded);
    EXPECT_FALSE(latest.tell(1, name, state(1, 2), kExpires).superseded);
    EXPECT_FALSE(latest.tell(2, name, state(1, 2), kExpires).superseded) << "it may have moved";
    const auto told = latest.tell(2, name, state(2, 3), kExpires);
    ASSERT_TRUE(told.superseded) << "another blade used it: should the first have it still, that is a copy";
    EXPECT_EQ(told.superseded->first, 1);
    EXPECT_EQ(told.superseded->second, state(1, 2));
}

TEST(Latest, IsBounded) {
    Latest latest(3);
    for (uint8_t i = 1; i <= 4; i++) latest.tell(1, name_of(i), state(1), 1000U + (i == 2 ? 0U : i));
    EXPECT_EQ(latest.size(), 3U);
    EXPECT_EQ(latest.find(name_of(2)), nullptr) << "the one that expires first makes room";
    latest.sweep(1003);
    EXPECT_EQ(latest.size(), 1U);
    EXPECT_NE(latest.find(name_of(4)), nullptr);
    Latest none(0);
    EXPECT_EQ(none.tell(1, name_of(1), state(1), kExpires).verdict, Verdict::fresh);
    EXPECT_EQ(none.size(), 0U);
}

}  // namespace
}  // namespace keyrail
