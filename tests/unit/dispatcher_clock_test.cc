// SPDX-License-Identifier: Apache-2.0
#include "control/agent/dispatcher_clock.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

using Ms = DispatcherClock::Ms;

TEST(DispatcherClock, BelievesTheFirst) {
    DispatcherClock clock;
    EXPECT_EQ(clock.told(Ms{1'700'000'000'000}, Ms{5000}), Ms{1'699'999'995'000});
}

TEST(DispatcherClock, ALatePingSaysLessThanWasKnown) {
    DispatcherClock clock;
    clock.told(Ms{100'000}, Ms{1000});
    EXPECT_EQ(clock.told(Ms{100'250}, Ms{1450}), Ms{98'999})
        << "it was 200 ms late: at most the drift is believed";
    EXPECT_EQ(clock.told(Ms{100'500}, Ms{1499}), Ms{99'001}) << "a faster one is nearer to the truth";
}

TEST(DispatcherClock, ClocksThatDriftAreFollowed) {
    DispatcherClock clock;
    Ms there{100'000}, here{1000}, ahead{};
    for (int i = 0; i < 4000; i++) {  // 1000 s, in which ours gets 400 ms ahead
        ahead = clock.told(there, here);
        there += Ms{250};
        here += Ms{i % 10 == 0 ? 251 : 250};
    }
    EXPECT_NEAR(static_cast<double>((ahead - (there - here)).count()), 0, 2);
}

TEST(DispatcherClock, AClockThatIsSetIsBelievedAtOnce) {
    DispatcherClock clock;
    clock.told(Ms{100'000}, Ms{1000});
    EXPECT_EQ(clock.told(Ms{3'700'250}, Ms{1250}), Ms{3'699'000});
    EXPECT_EQ(clock.told(Ms{100'500}, Ms{1500}), Ms{99'000});
}

}  // namespace
}  // namespace keyrail
