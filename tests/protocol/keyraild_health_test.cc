// SPDX-License-Identifier: Apache-2.0
// keyraild and blades that die, hang, or are away.
#include "tests/support/keyraild_test.h"

namespace keyrail {
namespace {

class KeyraildHealth : public KeyraildBench {};

TEST_F(KeyraildHealth, AServerThatDies) {
    start_whole();
    agents[1]->health(false);
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_NONE; }, 500));
    EXPECT_FALSE(dataplane->gone(1)) << "it may finish what it has";
    EXPECT_EQ(dataplane->intake(2), link::INTAKE_OPEN);
    agents[1]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_OPEN; }, 500));
}

TEST_F(KeyraildHealth, AnAgentThatDiesIsNotABladeThatDies) {
    start_whole();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"blade", "list"}).json[0]["agent"]["connected"] == false; }));
    EXPECT_FALSE(until([&] { return dataplane->intake(1) != link::INTAKE_OPEN; }, 2500));
    connect_agent(1);
    EXPECT_EQ(keyrail({"blade", "list"}).json[0]["agent"]["connected"], true);
}

/// A fault, and no more: as little as when it dies.
TEST_F(KeyraildHealth, AnAgentThatHangsIsNamed) {
    start_whole();
    const auto faults = [&] { return keyrail({"blade", "list"}).json[0]["faults"].size(); };
    EXPECT_EQ(faults(), 0u);
    agents[1]->hang(true);
    ASSERT_TRUE(until([&] { return faults() == 1; }, 2500));
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
    EXPECT_FALSE(dataplane->gone(1));
    agents[1]->hang(false);
    EXPECT_TRUE(until([&] { return faults() == 0; }, 2500));
}

/// Blade 2's agent has an address where nobody answers (RFC 5737).
class KeyraildFar : public KeyraildBench {
    [[nodiscard]] std::string agent_host(BladeId id) const override {
        return id == 2 ? "192.0.2.77" : "127.0.1.1";
    }
};

TEST_F(KeyraildFar, ABladeThatDoesNotAnswerTakesNothingNewThenIsGone) {
    // agent_host() is virtual: the configuration of the base's constructor has the base's addresses
    write_config(good_config());
    start_whole();
    const auto begin = std::chrono::steady_clock::now();
    agents.erase(2);
    ASSERT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 2500));
    EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(700));
    EXPECT_FALSE(dataplane->gone(2)) << "a moment may pass";
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
    ASSERT_TRUE(until([&] { return dataplane->gone(2); }, 4500));
    EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(2500));
    EXPECT_FALSE(dataplane->gone(1));
    EXPECT_EQ(keyrail({"blade", "list"}).json[1]["gone"], true);
    connect_agent(2);
    agents[2]->health(true);
    EXPECT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_OPEN; }));
}

/// Both blades' machines do not answer.
class KeyraildFarFromAll : public KeyraildBench {
    [[nodiscard]] std::string agent_host(BladeId id) const override {
        return id == 2 ? "192.0.2.77" : "192.0.2.76";
    }
};

TEST_F(KeyraildFarFromAll, WhenNobodyAnswersNobodysFlowsAreGivenAway) {
    write_config(good_config());
    start_whole();
    agents.clear();
    EXPECT_FALSE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 2000))
        << "it may be our own trouble: no client is refused for a moment of that";
    ASSERT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 2500));
    EXPECT_FALSE(until([&] { return dataplane->gone(1) || dataplane->gone(2); }, 2500));
    connect_agent(1);
    agents[1]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->gone(2); }, 2500)) << "it was not our own trouble";
    EXPECT_FALSE(dataplane->gone(1));
    EXPECT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_OPEN; }))
        << "its health is told after its connection";
}

/// Silence of all may be our own trouble; an operator knows better.
TEST_F(KeyraildFarFromAll, WhatTheOperatorSaysIsOffIsGone) {
    write_config(good_config());
    start_whole();
    agents.clear();
    ASSERT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 4500));
    const auto done = keyrail({"blade", "off", "2"});
    EXPECT_EQ(done.status, 0) << done.text;
    EXPECT_TRUE(until([&] { return dataplane->gone(2); }, 1000));
    EXPECT_FALSE(dataplane->gone(1)) << "nobody said that of it";
    EXPECT_EQ(keyrail({"blade", "off", "2"}).status, 0) << "as it is";
    connect_agent(2);
    agents[2]->health(true);
    EXPECT_TRUE(until([&] { return !dataplane->gone(2) && dataplane->intake(2) == link::INTAKE_OPEN; }));
}

TEST_F(KeyraildHealth, WhatAnswersIsNotOff) {
    start_whole();
    const auto refused = keyrail({"blade", "off", "1"});
    EXPECT_NE(refused.status, 0);
    EXPECT_NE(refused.text.find("it is not off"), std::string::npos) << refused.text;
    EXPECT_FALSE(dataplane->gone(1));
    EXPECT_NE(keyrail({"blade", "off", "77"}).text.find("there is no blade"), std::string::npos);
}

TEST_F(KeyraildFarFromAll, AKeyraildThatWasStoppedBlamesNobodyElse) {
    write_config(good_config());
    start_whole();
    daemon->signal(SIGSTOP);
    EXPECT_FALSE(until([] { return false; }, 4000));
    daemon->signal(SIGCONT);
    EXPECT_FALSE(
        until([&] { return dataplane->intake(1) != link::INTAKE_OPEN || dataplane->gone(1); }, 1500));
    EXPECT_EQ(dataplane->intake(2), link::INTAKE_OPEN);
}

/// The way to the blades is through keyrail-dp's ports: while it starts again, nobody is within reach. A real
/// card takes seconds to come up.
TEST_F(KeyraildFarFromAll, WhileTheDispatcherIsAwayNobodyIsJudged) {
    write_config(good_config());
    start_whole();
    dataplane.reset();
    agents.clear();
    EXPECT_FALSE(until([] { return false; }, 5000));
    dataplane = std::make_unique<testing::FakeDataplane>(run_dir / "dp.sock");
    ASSERT_TRUE(until([&] { return dataplane->snapshot() != nullptr; }));
    for (const BladeId blade : {BladeId(1), BladeId(2)}) {
        EXPECT_EQ(dataplane->intake(blade), link::INTAKE_OPEN)
            << "clients are refused where nobody takes them";
        EXPECT_FALSE(dataplane->gone(blade));
    }
    EXPECT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 4500)) << "now they are";
}

TEST_F(KeyraildHealth, AnAgentThatIsAwayWhenKeyraildStartsAgain) {
    start_whole();
    kill_daemon();
    dataplane->received.clear();
    agents.erase(1);
    start();
    connect_agent(2);
    agents[2]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->snapshot() != nullptr; }));
    ASSERT_FALSE(until([&] { return dataplane->gone(1); }, 4000)) << "its kernel answers: its flows live";
    for (const auto& message : dataplane->of(ToDataplane::kSnapshot))
        EXPECT_FALSE(message.snapshot().blades(0).gone());
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_NONE);
}

TEST_F(KeyraildHealth, StrangersAreNotLetIn) {
    start();
    const testing::TestChassis other(1);
    testing::FakeAgent foreign(io, other.tls("blade-1"), port);
    testing::FakeAgent unconfigured(io, chassis.tls("blade-3"), port);
    testing::FakeAgent control(io, chassis.tls("control"), port);
    ASSERT_TRUE(until([&] {
        return !foreign.ended().empty() && !unconfigured.ended().empty() && !control.ended().empty();
    }));
    EXPECT_TRUE(unconfigured.of(Envelope::kKeys).empty());
    EXPECT_TRUE(control.of(Envelope::kKeys).empty());
    EXPECT_EQ(keyrail({"status"}).json["agents"], 0);
}

TEST_F(KeyraildHealth, TheNewestConnectionOfAnAgentCounts) {
    start_whole();
    testing::FakeAgent second(io, chassis.tls("blade-1"), port);
    ASSERT_TRUE(until([&] { return !agents[1]->ended().empty() && !second.of(Envelope::kKeys).empty(); }));
    EXPECT_EQ(keyrail({"status"}).json["agents"], 2);
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
}

}  // namespace
}  // namespace keyrail
