// SPDX-License-Identifier: Apache-2.0
// Whose is a connection? What agents are asked, and what is made of their answers.
#include "control/daemon/blades/flow_finder.h"

#include <gtest/gtest.h>

#include <set>

#include "chassis.pb.h"
#include "link.pb.h"

namespace keyrail {
namespace {

using chassis::FlowsFound;
using std::chrono::milliseconds;

class FlowFinderTest : public testing::Test {
  protected:
    bool ask(uint64_t id, const std::vector<BladeId>& able, const std::vector<BladeId>& doubtful = {}) {
        link::FlowAsk wanted;
        wanted.set_ask_id(id);
        wanted.set_service("www");
        wanted.set_client(std::string({10, 0, 0, 1}));
        wanted.set_client_port(1234);
        wanted.set_address(std::string({10, 0, 0, 2}));
        wanted.set_port(443);
        wanted.set_budget_us(150'000);
        return finder.ask(change(wanted), able, doubtful, now);
    }
    void say(BladeId blade, FlowsFound::Presence presence, uint64_t id = 1, uint32_t heard_ms = 0) {
        FlowsFound found;
        auto& answer = *found.add_answers();
        answer.set_id(id);
        answer.set_presence(presence);
        answer.set_heard_ms(heard_ms);
        finder.found(blade, found);
    }
    /// "7:2" for question 7 and blade 2; with "t": in TIME_WAIT.
    std::string answered() {
        std::string all;
        for (const auto& answer : answers)
            all += std::to_string(answer.ask_id()) + ":" + std::to_string(answer.blade()) +
                   (answer.time_wait() ? "t" : "") + " ";
        return all;
    }

    std::function<link::FlowAsk(link::FlowAsk)> change = [](link::FlowAsk ask) { return ask; };
    std::set<uint16_t> unreachable;
    std::vector<std::pair<uint16_t, chassis::FindFlows>> sent;
    std::vector<link::FlowAnswer> answers;
    FlowFinder::Time now{};
    FlowFinder finder{{[this](BladeId blade, const chassis::Envelope& message) {
                           sent.emplace_back(blade, message.find_flows());
                           return !unreachable.contains(blade);
                       },
                       [this](const link::FlowAnswer& answer) { answers.push_back(answer); }}};
};

/// Two have not answered in time: keyrail-dp guesses. What they say later corrects it.
TEST_F(FlowFinderTest, LateAnswersCount) {
    ASSERT_TRUE(ask(7, {1, 2, 3}));
    finder.flush();
    say(1, FlowsFound::ABSENT);
    now += milliseconds(150);
    finder.tick(now);
    EXPECT_EQ(answered(), "");
    now += milliseconds(1000);
    say(2, FlowsFound::PRESENT);
    EXPECT_EQ(answered(), "7:2 ") << "the third need not be waited for";
    EXPECT_FALSE(finder.pending());
    ASSERT_TRUE(ask(8, {1, 2, 3}));
    finder.flush();
    now += milliseconds(150);
    finder.tick(now);
    EXPECT_TRUE(finder.pending());
    now += FlowFinder::kLate;
    finder.tick(now);
    EXPECT_FALSE(finder.pending()) << "nor is anybody for ever";
    EXPECT_EQ(answered(), "7:2 ");
}

TEST_F(FlowFinderTest, WhatIsLateGivesWay) {
    for (uint64_t id = 0; id < FlowFinder::kMax; id++) ASSERT_TRUE(ask(id, {1, 2}));
    EXPECT_FALSE(ask(9999, {1, 2}));
    now += milliseconds(150);
    finder.tick(now);
    for (uint64_t id = 0; id < FlowFinder::kMax; id++) ASSERT_TRUE(ask(id, {1, 2}));
    EXPECT_FALSE(ask(9999, {1, 2}));
}

TEST_F(FlowFinderTest, EachIsAsked) {
    ASSERT_TRUE(ask(7, {1, 2, 3}));
    EXPECT_TRUE(sent.empty());
    finder.flush();
    ASSERT_EQ(sent.size(), 3u);
    EXPECT_EQ(sent[0].second.flows(0).client_port(), 1234u);
    EXPECT_EQ(sent[0].second.flows(0).port(), 443u);
    say(1, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "");
    say(2, FlowsFound::PRESENT);
    EXPECT_EQ(answered(), "");
    say(3, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "7:2 ");
    say(3, FlowsFound::PRESENT);
    EXPECT_EQ(answered(), "7:2 ");
    EXPECT_FALSE(finder.pending());
}

/// A blade does not know that its client has gone, where the client's last word was lost.
TEST_F(FlowFinderTest, OfSeveralTheOneThatHeardItsClientLast) {
    ask(7, {1, 2, 3});
    say(1, FlowsFound::PRESENT, 1, 5000);
    say(2, FlowsFound::PRESENT, 1, 20);
    say(3, FlowsFound::PRESENT, 1, 21);
    ask(8, {1, 2});
    say(1, FlowsFound::PRESENT, 2, 0);
    say(2, FlowsFound::TIME_WAIT, 2);
    EXPECT_EQ(answered(), "7:2 8:1 ");
}

TEST_F(FlowFinderTest, OneThatHasItCountsMoreThanOneThatIsLate) {
    ask(7, {1, 2});
    say(2, FlowsFound::PRESENT, 1, 5000);
    finder.tick(now + milliseconds(99));
    EXPECT_EQ(answered(), "");
    finder.tick(now + milliseconds(100));
    EXPECT_EQ(answered(), "7:2 ");
    say(1, FlowsFound::PRESENT, 1, 20);
    EXPECT_EQ(answered(), "7:2 ");
}

TEST_F(FlowFinderTest, NobodyWhenAllSaySo) {
    ask(7, {1, 2});
    finder.flush();
    say(1, FlowsFound::ABSENT);
    say(1, FlowsFound::ABSENT);
    say(9, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "") << "once for each that was asked";
    say(2, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "7:0 ");
}

TEST_F(FlowFinderTest, TimeWaitIsSecondToALiveOne) {
    ask(7, {1, 2});
    say(1, FlowsFound::TIME_WAIT);
    EXPECT_EQ(answered(), "");
    say(2, FlowsFound::PRESENT);
    ask(8, {1, 2});
    say(1, FlowsFound::TIME_WAIT, 2);
    say(2, FlowsFound::ABSENT, 2);
    EXPECT_EQ(answered(), "7:2 8:1t ");
}

/// A kernel answers whatever comes to a connection in TIME_WAIT, so that a client would wait there for ever.
TEST_F(FlowFinderTest, TimeWaitIsSecondToOneThatCannotSay) {
    ask(7, {1, 2});
    say(1, FlowsFound::TIME_WAIT);
    finder.tick(now + milliseconds(100));
    ask(8, {1}, {5});
    say(1, FlowsFound::TIME_WAIT, 2);
    EXPECT_EQ(answered(), "7:2 8:5 ");
    ask(9, {1}, {5, 6});
    say(1, FlowsFound::TIME_WAIT, 3);
    EXPECT_EQ(answered(), "7:2 8:5 ");
    EXPECT_FALSE(finder.pending());
}

TEST_F(FlowFinderTest, OneThatCannotSayIsTheOne) {
    ask(7, {1}, {5});
    say(1, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "7:5 ") << "its agent is away: its flows live";
    ask(8, {1, 2});
    say(1, FlowsFound::UNKNOWN, 2);
    say(2, FlowsFound::ABSENT, 2);
    ask(9, {1, 2});
    finder.lost(2);
    say(1, FlowsFound::ABSENT, 3);
    ask(10, {1, 2});
    unreachable = {1};
    finder.flush();
    say(2, FlowsFound::ABSENT, 4);
    EXPECT_EQ(answered(), "7:5 8:1 9:2 10:1 ");
    ask(11, {}, {5});
    EXPECT_EQ(answered(), "7:5 8:1 9:2 10:1 11:5 ");
}

TEST_F(FlowFinderTest, OfSeveralThatCannotSayNothingIsSaid) {
    ask(7, {1}, {5, 6});
    say(1, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "");
    EXPECT_FALSE(finder.pending());
    ask(8, {}, {5, 6});
    EXPECT_FALSE(finder.pending());
    ask(9, {1}, {5, 6});
    say(1, FlowsFound::PRESENT, 3);
    EXPECT_EQ(answered(), "9:1 ");
}

TEST_F(FlowFinderTest, WhoIsLateCouldNotSay) {
    ask(7, {1, 2});
    ask(8, {1, 2});
    say(1, FlowsFound::ABSENT);
    finder.tick(now + milliseconds(99));
    EXPECT_TRUE(finder.pending());
    finder.tick(now + milliseconds(100));
    EXPECT_EQ(answered(), "7:2 ") << "before keyrail-dp gives up";
    EXPECT_TRUE(finder.pending()) << "of the other question nobody has said anything";
    say(2, FlowsFound::PRESENT, 2);
    EXPECT_EQ(answered(), "7:2 8:2 ") << "late, but it corrects a guess";
    EXPECT_FALSE(finder.pending());
}

TEST_F(FlowFinderTest, ANewDispatcherIsNotToldWhatTheOldOneAsked) {
    ask(7, {1, 2});
    finder.forget();
    EXPECT_FALSE(finder.pending());
    say(1, FlowsFound::PRESENT);
    say(2, FlowsFound::ABSENT);
    EXPECT_EQ(answered(), "");
}

TEST_F(FlowFinderTest, ManyAreOneMessage) {
    for (uint64_t i = 0; i < 300; i++) ask(i, {1, 2});
    finder.flush();
    ASSERT_EQ(sent.size(), 4u);
    EXPECT_EQ(sent[0].second.flows_size(), FlowFinder::kBatch);
    EXPECT_EQ(sent[1].second.flows_size(), 44);
    finder.flush();
    EXPECT_EQ(sent.size(), 4u);
}

TEST_F(FlowFinderTest, IsBounded) {
    for (uint64_t i = 0; i < FlowFinder::kMax; i++) ASSERT_TRUE(ask(i, {1}));
    EXPECT_FALSE(ask(1, {1}));
    finder.tick(now + milliseconds(150));
    EXPECT_TRUE(ask(1, {1}));
}

TEST_F(FlowFinderTest, WhatMakesNoSenseIsNotAsked) {
    const std::vector<std::function<void(link::FlowAsk&)>> wrong = {
        [](link::FlowAsk& m) { m.set_client("abc"); }, [](link::FlowAsk& m) { m.clear_client(); },
        [](link::FlowAsk& m) { m.set_address(std::string(16, 'x')); },
        [](link::FlowAsk& m) { m.set_client_port(0); }, [](link::FlowAsk& m) { m.set_port(65536); }};
    for (const auto& spoil : wrong) {
        change = [&](link::FlowAsk ask) {
            spoil(ask);
            return ask;
        };
        EXPECT_FALSE(ask(7, {1}));
    }
    finder.flush();
    EXPECT_TRUE(sent.empty());
}

}  // namespace
}  // namespace keyrail
