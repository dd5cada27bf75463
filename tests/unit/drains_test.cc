// SPDX-License-Identifier: Apache-2.0
// Drains: at the set rate, pass after pass until nothing is left.
#include "control/daemon/moves/drains.h"

#include <gtest/gtest.h>

#include <set>

namespace keyrail {
namespace {

using namespace std::chrono_literals;

/// A blade with sessions; moves end when the test says so.
class DrainsTest : public ::testing::Test, public DrainHost {
  protected:
    bool list(BladeId, uint64_t cursor, uint32_t most, bool used_last) override {
        asked = agent_there;
        of_lately = used_last;
        from = cursor;
        at_most = most;
        return agent_there;
    }
    std::optional<BladeId> target(BladeId, const SessionName&, const std::string&) override { return to; }
    void move(BladeId, BladeId, const SessionName& name, const std::string&) override {
        moving.push_back(name);
        moved_in_order.push_back(name);
    }
    [[nodiscard]] bool client_waits() const override { return waits; }

    void answer() {
        if (!std::exchange(asked, false)) return;
        if (of_lately) {
            std::deque<Drains::Listed> last;
            for (const SessionName& name : lately) last.push_back({name, "www"});
            return drains.listed(1, last.size(), true, std::move(last));
        }
        std::deque<Drains::Listed> found;
        auto next = sessions.begin();
        std::advance(next, std::min<size_t>(from, sessions.size()));
        for (; next != sessions.end() && found.size() < at_most; ++next) found.push_back({*next, "www"});
        const uint64_t cursor = from + found.size();
        drains.listed(1, cursor, cursor >= sessions.size(), std::move(found));
    }
    void finish(MoveResult result) {
        for (const SessionName& name : std::exchange(moving, {})) {
            if (result == MoveResult::moved) sessions.erase(name);
            drains.moved(1, result);
        }
    }
    /// Ticks for so long, with every move ending well at once.
    void run(std::chrono::milliseconds time, MoveResult result = MoveResult::moved) {
        for (const auto end = now + time; now < end; now += Drains::kTick) {
            drains.tick(now);
            answer();
            finish(result);
        }
    }
    void fill(unsigned count) {
        for (unsigned i = 0; i < count; i++)
            sessions.insert({0, static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)});
    }

    Drains drains{*this};
    Drains::Time now = Drains::Time(1h);
    std::set<SessionName> sessions;
    std::vector<SessionName> moving;
    std::optional<BladeId> to = BladeId{2};
    bool agent_there = true, asked = false, of_lately = false, waits = false;
    std::vector<SessionName> lately, moved_in_order;
    uint64_t from = 0;
    uint32_t at_most = 0;
};

TEST_F(DrainsTest, KeepsTheRate) {
    fill(5000);
    drains.start(1, 1000, now);
    run(2s);
    EXPECT_NEAR(static_cast<double>(drains.progress(1)->moved), 2000, 100);
    drains.start(1, 3000, now);
    run(500ms);
    EXPECT_NEAR(static_cast<double>(drains.progress(1)->moved), 3500, 200);
}

TEST_F(DrainsTest, WhatWasUsedLatelyGoesFirst) {
    fill(1500);
    lately = {*std::next(sessions.begin(), 1400), *std::next(sessions.begin(), 7)};
    drains.start(1, 10'000, now);
    run(1s);
    ASSERT_GE(moved_in_order.size(), 2u);
    EXPECT_EQ(moved_in_order[0], lately[0]);
    EXPECT_EQ(moved_in_order[1], lately[1]);
    EXPECT_TRUE(sessions.empty());
    EXPECT_EQ(moved_in_order.size(), 1500u) << "each once";
    EXPECT_EQ(drains.progress(1)->moved, 1500u);
}

TEST_F(DrainsTest, AClientThatWaitsGoesFirstButNotForEver) {
    fill(5000);
    drains.start(1, 10'000, now);
    run(100ms);
    const size_t before = moved_in_order.size();
    waits = true;
    drains.tick(now += 1ms);
    drains.tick(now += 3ms);
    EXPECT_EQ(moved_in_order.size(), before);
    drains.tick(now += 3ms);
    EXPECT_GT(moved_in_order.size(), before) << "longer than a drain makes way";
    waits = false;
    finish(MoveResult::moved);
    const size_t then = moved_in_order.size();
    drains.tick(now += 1ms);
    EXPECT_GT(moved_in_order.size(), then);
}

TEST_F(DrainsTest, AFastDrainGoesInSmallSteps) {
    drains.start(1, 100, now);
    EXPECT_EQ(drains.pause(), Drains::kTick);
    drains.start(2, 4000, now);
    EXPECT_EQ(drains.pause(), Drains::kShortTick);
}

TEST_F(DrainsTest, GoesOnUntilAPassFindsNothing) {
    fill(2500);
    drains.start(1, 10'000, now);
    run(2s);
    EXPECT_TRUE(sessions.empty());
    EXPECT_TRUE(drains.progress(1)->empty);
    EXPECT_EQ(drains.progress(1)->moved, 2500u);
    fill(10);  // a connection that still lives got new tickets
    run(2s);
    EXPECT_TRUE(sessions.empty());
    EXPECT_TRUE(drains.progress(1)->empty);
    drains.stop(1);
    EXPECT_EQ(drains.progress(1), nullptr);
    EXPECT_FALSE(drains.active());
}

TEST_F(DrainsTest, SaysWhyItDoesNotGoOn) {
    fill(15);
    drains.start(1, 1000, now);
    const auto stuck = [&] { return drains.progress(1)->stuck(now); };
    run(2s, MoveResult::unreachable);
    EXPECT_EQ(stuck(), "") << "not at once";
    for (int i = 0; i < 50; i++) {
        run(100ms, MoveResult::unreachable);
        if (i > 40) EXPECT_EQ(stuck().find("moves end as 'unreachable': "), 0u) << stuck();
    }
    to.reset();
    for (int i = 0; i < 30; i++) run(100ms);
    EXPECT_NE(stuck().find("no other blade of its pools"), std::string::npos) << stuck();
    to = BladeId{2};
    run(2s);
    EXPECT_EQ(stuck(), "");
    EXPECT_TRUE(drains.progress(1)->empty || drains.progress(1)->moved == 15);
}

TEST_F(DrainsTest, WhatFailsIsCountedAndTriedAgain) {
    fill(100);
    drains.start(1, 10'000, now);
    run(500ms, MoveResult::unreachable);
    EXPECT_EQ(drains.progress(1)->failed, 100u);
    EXPECT_FALSE(drains.progress(1)->empty);
    run(3s);
    EXPECT_EQ(drains.progress(1)->failed, 0u);
    EXPECT_EQ(drains.progress(1)->moved, 100u);
    to = std::nullopt;  // nobody is there to take them
    fill(100);
    run(1500ms);
    EXPECT_EQ(drains.progress(1)->failed, 100u);
    EXPECT_EQ(sessions.size(), 100u);
}

TEST_F(DrainsTest, WaitsForItsAgentAndForMovesUnderWay) {
    fill(1000);
    agent_there = false;
    drains.start(1, 100'000, now);
    run(3s);
    EXPECT_EQ(drains.progress(1)->moved, 0u);
    agent_there = true;
    for (int i = 0; i < 200; i++, now += Drains::kTick) {
        drains.tick(now);
        answer();
    }
    EXPECT_EQ(moving.size(), Drains::kMaxUnderWay) << "the order table is not for drains alone";
    run(3s);
    EXPECT_TRUE(drains.progress(1)->empty);
}

}  // namespace
}  // namespace keyrail
