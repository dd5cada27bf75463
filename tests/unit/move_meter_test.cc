// SPDX-License-Identifier: Apache-2.0
#include "control/agent/move_meter.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;

TEST(MoveMeter, ManyMovesSayWhatOneCosts) {
    MoveMeter meter;
    for (int i = 0; i < 20; i++) meter.measure(0, 2 * kMillisecond);  // what it uses anyway
    meter.measure(1000, 52 * kMillisecond);
    EXPECT_NEAR(static_cast<double>(meter.cpu_ns()), 50.0 * kMillisecond, 0.1 * kMillisecond);
}

/// Seen in the lab: 62 moves in a minute seemed to cost 2 ms each, and were not worth it from then on.
TEST(MoveMeter, FewMovesDoNotPayForEverythingElse) {
    MoveMeter meter;
    meter.measure(1, 5 * kMillisecond);
    EXPECT_EQ(meter.cpu_ns(), 0u) << "nothing is known yet";
    meter.measure(1001, 50 * kMillisecond);
    const uint64_t before = meter.cpu_ns();
    meter.measure(1003, 5 * kMillisecond);
    EXPECT_EQ(meter.cpu_ns() - before, 2 * before / 1000);
}

}  // namespace
}  // namespace keyrail
