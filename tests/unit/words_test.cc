// SPDX-License-Identifier: Apache-2.0
// What operators write: durations and rates, the same everywhere; and what they mistype.
#include "control/protocol/words.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

TEST(Words, DurationsBothWays) {
    for (const char* text : {"20ms", "2h", "1d", "5min", "7us", "3s"})
        EXPECT_EQ(duration_text(*parse_duration(text)), text);
    EXPECT_EQ(parse_duration("120min")->count(), parse_duration("2h")->count());
    EXPECT_EQ(parse_duration("10m")->count(), parse_duration("10min")->count());
    for (const char* wrong :
         {"", "20", "ms", "20 ms", "-1s", "1.5s", "1w", "99999999999999999999s", "9999999999999d"})
        EXPECT_FALSE(parse_duration(wrong)) << wrong;
}

TEST(Words, Rates) {
    EXPECT_EQ(*parse_rate("2000/s"), 2000u);
    EXPECT_EQ(*parse_rate("2000"), 2000u);
    EXPECT_EQ(*parse_rate("120/min"), 2u);
    EXPECT_EQ(*parse_rate("120/m"), 2u);
    for (const char* wrong :
         {"", "0", "0/s", "10/min", "90/min", "-1/s", "1.5/s", "/s", "5/h", "99999999999/s", "5 /s", "5/s "})
        EXPECT_FALSE(parse_rate(wrong)) << wrong;
}

TEST(Words, TheNearest) {
    const std::vector<std::string> known = {"status", "stats", "blade", "session", "keys"};
    EXPECT_EQ(nearest("statsu", known), "stats");
    EXPECT_EQ(nearest("blad", known), "blade");
    EXPECT_EQ(nearest("kyes", known), "keys");
    EXPECT_EQ(nearest("xy", known), std::nullopt);
    EXPECT_EQ(nearest("reboot", known), std::nullopt);
    EXPECT_EQ(nearest(std::string(100'000, 'a'), known), std::nullopt);
}

}  // namespace
}  // namespace keyrail
