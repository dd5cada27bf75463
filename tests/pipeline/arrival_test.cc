// SPDX-License-Identifier: Apache-2.0
// The target's agent says that a session has arrived (common/arrival.h): that hold ends, and no other.
#include <gtest/gtest.h>

#include <functional>

#include "dataplane/common/arrival.h"
#include "dataplane/tables/moved_table.h"
#include "tests/pipeline/harness.h"

namespace keyrail {
namespace {

using namespace test;

/// Over IPv6: true.
class Arrivals : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        client_.syn();
        harness.burst(kFront, client_.hello(hello_of(1)));
        const auto asks = harness.asks();
        ASSERT_EQ(asks.size(), 1u);
        ask = asks[0];
        held = harness.held();
    }
    [[nodiscard]] Arrival arrival() const { return {ask.move_id.number(), ask.token, kArrivalPort}; }
    [[nodiscard]] static Frame frame(std::span<const uint8_t> bytes, uint16_t port = kArrivalPort) {
        return GetParam() ? datagram("fd77::12", "fd77::1", port, bytes)
                          : datagram("10.77.0.12", "10.77.0.1", port, bytes);
    }
    void say(const Arrival& said) { harness.burst(kBack, {frame(bytes_of(said))}); }
    void expect_still_held() {
        EXPECT_TRUE(harness.wire(kBack).empty());
        EXPECT_EQ(harness.held(), held);
        harness.expect_conserved();
    }

    Harness harness{Scene{.up = {2, 3}, .draining = {1}}};
    MoveAsk ask{};
    uint64_t held = 0;

  private:
    Client client_{harness, 43000};
};

TEST_P(Arrivals, EndTheHold) {
    say(arrival());
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), held);
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(ask.to));
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    EXPECT_EQ(harness.count(Reason::drop_arrival), 1u);
    EXPECT_EQ(harness.context().stats.moves_arrived.get(), 1u);
    EXPECT_TRUE(harness.kernel(kBack).empty());
    harness.expect_conserved();
    harness.answer(ask, true);  // keyraild's word is late: nothing more to do
    say(arrival());             // and again
    EXPECT_TRUE(harness.wire(kBack).empty());
    EXPECT_EQ(harness.context().stats.moves_arrived.get(), 1u);
    harness.expect_conserved();
}

TEST_P(Arrivals, WithAnotherTokenMoveOrWorkerSayNothing) {
    for (int bit = 0; bit < 64; bit++) {
        Arrival other = arrival();
        other.token ^= uint64_t{1} << bit;
        say(other);
        other = arrival();
        other.move_id ^= uint64_t{1} << bit;
        say(other);
    }
    say({arrival().move_id, 0, kArrivalPort});
    EXPECT_EQ(harness.count(Reason::drop_arrival), 129u);
    EXPECT_EQ(harness.context().stats.moves_arrived.get(), 0u);
    expect_still_held();
}

/// The token of a hold is of no use for the next one in its place.
TEST_P(Arrivals, OfAHoldBeforeSayNothing) {
    const Arrival before = arrival();
    harness.answer(ask, true);
    harness.wire(kBack);
    harness.moved().set(ask.name, BladeId(1), 1'800'000'000, 0);
    Client again(harness, 43001);
    again.syn();
    harness.burst(kFront, again.hello(hello_of(1)));
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    ASSERT_EQ(asks[0].move_id.slot(), ask.move_id.slot());
    EXPECT_NE(asks[0].token, ask.token);
    say(before);
    say({asks[0].move_id.number(), before.token, kArrivalPort});
    expect_still_held();
    say({asks[0].move_id.number(), asks[0].token, kArrivalPort});
    EXPECT_EQ(harness.wire(kBack).size(), held);
}

/// What is none is the kernel's.
TEST_P(Arrivals, OtherDatagramsReachTheKernel) {
    const ArrivalBytes good = bytes_of(arrival());
    ArrivalBytes marked = good;
    marked[3] ^= 1;
    std::vector<uint8_t> longer(good.begin(), good.end());
    longer.push_back(0);
    harness.burst(kBack, {frame(good, kArrivalPort + 1), frame(marked), frame(longer),
                          frame(std::span(good).first(kArrivalSize - 1)), frame({})});
    EXPECT_EQ(harness.kernel(kBack).size(), 5u);
    expect_still_held();
}

TEST_P(Arrivals, CutShortAtEachByte) {
    const Frame whole = frame(bytes_of(arrival()));
    for (size_t size = 14; size < whole.size(); size++)
        harness.burst(kBack, {Frame(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size))});
    EXPECT_EQ(harness.count(Reason::drop_arrival), 0u);
    expect_still_held();
}

/// Clients do not say such things.
TEST_P(Arrivals, FromTheFrontCountForNothing) {
    harness.burst(kFront, {frame(bytes_of(arrival()))});
    EXPECT_EQ(harness.count(Reason::drop_arrival), 0u);
    expect_still_held();
}

INSTANTIATE_TEST_SUITE_P(Family, Arrivals, testing::Bool(),
                         [](const auto& param) { return param.param ? "ipv6" : "ipv4"; });

}  // namespace
}  // namespace keyrail
