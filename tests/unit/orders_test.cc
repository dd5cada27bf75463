// SPDX-License-Identifier: Apache-2.0
// The order table: one move per name, joined by all who wait, ended by those who may.
#include "control/daemon/moves/orders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace keyrail {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr SessionName kName = {1}, kOther = {2};

class OrdersTest : public ::testing::Test {
  protected:
    static Waiter waiter(uint64_t id) { return {Waiter::Kind::dataplane, 0, id}; }
    static MoveWish wish(uint64_t id, const SessionName& name = kName) {
        return {waiter(id), name, 1, 2, 20ms, "www"};
    }
    uint64_t results(MoveResult result) { return orders.counters().results[static_cast<size_t>(result)]; }

    Orders orders{100};
    Orders::Time now{};
};

TEST_F(OrdersTest, Moved) {
    const auto order = orders.ask(wish(7), now);
    ASSERT_TRUE(order);
    EXPECT_EQ(order->id, 100u);
    EXPECT_EQ(orders.under_way(), 1u);
    const auto done = orders.done(order->id, 2, MoveResult::moved, now + 300us);
    ASSERT_TRUE(done);
    EXPECT_THAT(done->waiters, ElementsAre(waiter(7)));
    EXPECT_EQ(orders.under_way(), 0u);
    EXPECT_EQ(results(MoveResult::moved), 1u);
    EXPECT_EQ(orders.counters().late, 0u);
    EXPECT_NEAR(static_cast<double>(orders.counters().duration.quantile(0.5).count()), 300, 20);
}

TEST_F(OrdersTest, FromARepositoryTheTargetSaysAll) {
    const auto order = orders.ask(wish(7), now);
    orders.from_repository(order->id);
    const MoveOrder* const asked = orders.find(order->id);
    ASSERT_TRUE(asked);
    EXPECT_EQ(asked->source, MoveSource::repository);
    EXPECT_EQ(asked->from, 1u) << "whose session it was";
    EXPECT_THAT(orders.holder_gone(1), IsEmpty()) << "the holder has no more to say";
    EXPECT_FALSE(orders.done(order->id, 1, MoveResult::not_found, now));
    const auto done = orders.done(order->id, 2, MoveResult::refused, now);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->result, MoveResult::refused);
}

TEST_F(OrdersTest, FromARepositoryToABladeThatGoes) {
    const auto order = orders.ask(wish(7), now);
    orders.from_repository(order->id);
    const auto gone = orders.holder_gone(2);
    ASSERT_EQ(gone.size(), 1u);
    EXPECT_EQ(gone[0].result, MoveResult::unreachable);
}

TEST_F(OrdersTest, DuplicatesJoin) {
    const auto order = orders.ask(wish(7), now);
    EXPECT_FALSE(orders.ask(wish(8), now));
    EXPECT_TRUE(orders.ask(wish(9, kOther), now));
    const auto done = orders.done(order->id, 2, MoveResult::moved, now);
    ASSERT_TRUE(done);
    EXPECT_THAT(done->waiters, ElementsAre(waiter(7), waiter(8)));
    EXPECT_EQ(orders.counters().asked, 3u);
    EXPECT_EQ(orders.counters().joined, 1u);
    EXPECT_EQ(orders.counters().ordered, 2u);
    EXPECT_TRUE(orders.ask(wish(10), now));  // over: the next wish is an order of its own
}

TEST_F(OrdersTest, WhoWantsItElsewhereAsksAgain) {
    const auto order = orders.ask(wish(7), now);
    MoveWish elsewhere = wish(8), pull = wish(9), drain = wish(10);
    elsewhere.to = pull.to = drain.to = 3;
    pull.waiter.kind = Waiter::Kind::pull;
    drain.waiter.kind = Waiter::Kind::drain;
    for (const MoveWish& joins : {elsewhere, pull, drain}) EXPECT_FALSE(orders.ask(joins, now));
    const auto done = orders.done(order->id, 2, MoveResult::moved, now + 1ms);
    ASSERT_TRUE(done);
    EXPECT_THAT(done->waiters, ElementsAre(waiter(7), drain.waiter)) << "a drain has what it wanted";
    ASSERT_EQ(done->others.size(), 2U);
    EXPECT_EQ(done->others[0].waiter, elsewhere.waiter);
    EXPECT_EQ(done->others[1].waiter, pull.waiter);
    EXPECT_EQ(done->at, now + 1ms);
}

TEST_F(OrdersTest, OnlyThoseWhoMaySay) {
    const auto order = orders.ask(wish(7), now);
    EXPECT_FALSE(orders.done(order->id, 1, MoveResult::moved, now));      // the holder cannot claim it
    EXPECT_FALSE(orders.done(order->id, 2, MoveResult::not_found, now));  // the target cannot deny it
    EXPECT_FALSE(orders.done(order->id, 3, MoveResult::moved, now));
    EXPECT_FALSE(orders.done(order->id + 1, 2, MoveResult::moved, now));
    EXPECT_TRUE(orders.done(order->id, 1, MoveResult::not_found, now));
    EXPECT_FALSE(orders.done(order->id, 2, MoveResult::moved, now));  // over
    EXPECT_EQ(results(MoveResult::not_found), 1u);
}

TEST_F(OrdersTest, LateIsCounted) {
    const auto order = orders.ask(wish(7), now);
    EXPECT_TRUE(orders.done(order->id, 2, MoveResult::moved, now + 21ms));
    EXPECT_EQ(orders.counters().late, 1u);
}

TEST_F(OrdersTest, HolderGoneThenTheTargetReportsAfterAll) {
    const auto order = orders.ask(wish(7), now);
    EXPECT_THAT(orders.holder_gone(2), IsEmpty());  // of another blade
    const auto gone = orders.holder_gone(1);
    ASSERT_EQ(gone.size(), 1u);
    EXPECT_EQ(gone[0].result, MoveResult::unreachable);
    EXPECT_THAT(gone[0].waiters, ElementsAre(waiter(7)));
    EXPECT_THAT(orders.holder_gone(1), IsEmpty());
    const auto done = orders.done(order->id, 2, MoveResult::moved, now);
    ASSERT_TRUE(done);
    EXPECT_THAT(done->waiters, IsEmpty());  // told before
    EXPECT_EQ(results(MoveResult::unreachable), 1u);
    EXPECT_EQ(results(MoveResult::moved), 0u);  // counted once
}

TEST_F(OrdersTest, NobodyAnswers) {
    (void)orders.ask(wish(7), now);
    EXPECT_THAT(orders.expire(now + Orders::kTimeout), IsEmpty());
    (void)orders.ask(wish(8, kOther), now + 1s);
    const auto lost = orders.expire(now + Orders::kTimeout + 1ms);
    ASSERT_EQ(lost.size(), 1u);
    EXPECT_EQ(lost[0].result, MoveResult::lost);
    EXPECT_THAT(lost[0].waiters, ElementsAre(waiter(7)));
    EXPECT_EQ(orders.under_way(), 1u);
}

TEST_F(OrdersTest, Bounded) {
    for (uint64_t i = 0; i < Orders::kMaxWaiters + 10; i++) (void)orders.ask(wish(i), now);
    EXPECT_EQ(orders.done(100, 2, MoveResult::moved, now)->waiters.size(), Orders::kMaxWaiters);
    for (uint32_t i = 0; !orders.full(); i++) {
        ASSERT_LE(i, Orders::kMaxOrders);
        (void)orders.ask(wish(i, {0, static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8),
                                  static_cast<uint8_t>(i >> 16)}),
                         now);
    }
    EXPECT_EQ(orders.under_way(), Orders::kMaxOrders);
}

TEST(HistogramTest, Quantiles) {
    Histogram histogram;
    EXPECT_EQ(histogram.quantile(0.5).count(), 0);
    for (int i = 1; i <= 1000; i++) histogram.add(std::chrono::microseconds(i));
    EXPECT_EQ(histogram.count(), 1000u);
    EXPECT_NEAR(static_cast<double>(histogram.quantile(0.5).count()), 500, 500 * 0.07);
    EXPECT_NEAR(static_cast<double>(histogram.quantile(0.99).count()), 990, 990 * 0.07);
    histogram.add(std::chrono::microseconds::max());
    histogram.add(std::chrono::microseconds(-1));
    EXPECT_EQ(histogram.quantile(0).count(), 0);
    EXPECT_EQ(histogram.quantile(1).count(), 33'554'431);
}

}  // namespace
}  // namespace keyrail
