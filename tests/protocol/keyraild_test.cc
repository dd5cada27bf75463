// SPDX-License-Identifier: Apache-2.0
// keyraild as a whole: the real program between a dataplane and agents of ours. What it publishes, what it
// orders, what it keeps over kill -9, what it refuses.
#include <gmock/gmock.h>

#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

using chassis::Envelope;
using link::ToDataplane;
using ::testing::ElementsAre;
using testing::FakeAgent;
using testing::FakeDataplane;
using ::testing::HasSubstr;
using testing::KeyraildBench;
using testing::Process;
using ::testing::SizeIs;

class Keyraild : public KeyraildBench {};

// --- what it publishes

TEST_F(Keyraild, PublishesAsSoonAsAllHaveReported) {
    const auto begin = std::chrono::steady_clock::now();
    start_whole();
    EXPECT_LT(std::chrono::steady_clock::now() - begin,
              std::chrono::milliseconds(1900));  // before it would settle
    const link::Snapshot& snapshot = *dataplane->snapshot();
    ASSERT_EQ(snapshot.services_size(), 1);
    EXPECT_THAT(snapshot.services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_EQ(snapshot.services(0).hold_budget_us(), 20'000u);
    const chassis::Keys keys = agents[1]->of(Envelope::kKeys)[0].keys();
    EXPECT_EQ(keys.name_keys(0).key(), snapshot.name_keys(0).key());
    EXPECT_EQ(keys.name_keys(0).generation(), snapshot.name_keys(0).generation());
    EXPECT_EQ(keys.cookie_keys(0).key(), snapshot.cookie_keys(0).key());
    EXPECT_EQ(keys.peers(0).blade_id(), 2u);
    EXPECT_EQ(keys.services(0).port(), 443u);
    // And with the first snapshot the whole directory.
    ASSERT_TRUE(until([&] { return !dataplane->of(ToDataplane::kMovedEntries).empty(); }));
    EXPECT_TRUE(dataplane->of(ToDataplane::kMovedEntries)[0].moved_entries().replace_all());
}

TEST_F(Keyraild, WaitsForThoseWhoAreMissingThenPublishes) {
    start();
    connect_agent(1);
    agents[1]->health(true);
    EXPECT_FALSE(until([&] { return dataplane->snapshot() != nullptr; }, 1000));
    // Nor does it take from the dataplane what it knows of moved sessions, as long as agents are missing.
    EXPECT_TRUE(dataplane->of(ToDataplane::kMovedEntries).empty());
    ASSERT_TRUE(until([&] { return dataplane->snapshot() != nullptr; }));
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
    EXPECT_EQ(dataplane->intake(2), link::INTAKE_NONE);
}

TEST_F(Keyraild, ADataplaneThatRestartsGetsEverythingAgain) {
    start_whole();
    bring(name_of(1), 1, 2);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["moved_sessions"] == 1; }));
    const uint64_t before = dataplane->snapshot()->generation();
    dataplane.reset();
    dataplane = std::make_unique<FakeDataplane>(run_dir / "dp.sock", before + 7);
    ASSERT_TRUE(until([&] { return !dataplane->of(ToDataplane::kMovedEntries).empty(); }));
    EXPECT_TRUE(dataplane->received[0].has_snapshot());  // first who is who, then who has what
    EXPECT_EQ(dataplane->snapshot()->generation(), before + 8);
    const auto entries = dataplane->of(ToDataplane::kMovedEntries);
    EXPECT_TRUE(entries[0].moved_entries().replace_all());
    ASSERT_EQ(entries[0].moved_entries().entries_size(), 1);
    EXPECT_EQ(entries[0].moved_entries().entries(0).holder(), 2u);
}

TEST_F(Keyraild, GarbageFromTheDataplaneMakesANewLink) {
    start_whole();
    dataplane->send_raw("\xff\xff\xff\xff");
    ASSERT_TRUE(until([&] { return dataplane->connections == 2; }));
    EXPECT_TRUE(until([&] { return keyrail({"status"}).json["dataplane"]["connected"] == true; }));
}

// --- health

TEST_F(Keyraild, AServerThatDies) {
    start_whole();
    agents[1]->health(false);
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_NONE; }, 500));
    EXPECT_FALSE(dataplane->gone(1)) << "it may finish what it has";
    EXPECT_EQ(dataplane->intake(2), link::INTAKE_OPEN);
    agents[1]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_OPEN; }, 500));
}

TEST_F(Keyraild, AnAgentThatDiesIsNotABladeThatDies) {
    start_whole();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"blade", "list"}).json[0]["agent"]["connected"] == false; }));
    EXPECT_FALSE(until([&] { return dataplane->intake(1) != link::INTAKE_OPEN; }, 2500));
    connect_agent(1);
    EXPECT_EQ(keyrail({"blade", "list"}).json[0]["agent"]["connected"], true);
}

/// A fault, and no more: as little as when it dies.
TEST_F(Keyraild, AnAgentThatHangsIsNamed) {
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
    [[nodiscard]] std::string agent_host(uint16_t id) const override {
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
    [[nodiscard]] std::string agent_host(uint16_t id) const override {
        return id == 2 ? "192.0.2.77" : "192.0.2.76";
    }
};

TEST_F(KeyraildFarFromAll, WhenNobodyAnswersNobodysFlowsAreGivenAway) {
    write_config(good_config());
    start_whole();
    agents.clear();
    ASSERT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_NONE; }, 2500));
    EXPECT_FALSE(until([&] { return dataplane->gone(1) || dataplane->gone(2); }, 4500));
    connect_agent(1);
    agents[1]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->gone(2); }, 2500)) << "it was not our own trouble";
    EXPECT_FALSE(dataplane->gone(1));
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
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

TEST_F(Keyraild, AnAgentThatIsAwayWhenKeyraildStartsAgain) {
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

TEST_F(Keyraild, StrangersAreNotLetIn) {
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

TEST_F(Keyraild, TheNewestConnectionOfAnAgentCounts) {
    start_whole();
    testing::FakeAgent second(io, chassis.tls("blade-1"), port);
    ASSERT_TRUE(until([&] { return !agents[1]->ended().empty() && !second.of(Envelope::kKeys).empty(); }));
    EXPECT_EQ(keyrail({"status"}).json["agents"], 2);
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);
}

// --- moves

TEST_F(Keyraild, AMove) {
    start_whole();
    const std::string name = name_of(1);
    request_move(71, name);
    ASSERT_TRUE(until([&] { return !agents[1]->of(Envelope::kOrder).empty(); }));
    const chassis::Order order = agents[1]->of(Envelope::kOrder)[0].order();
    EXPECT_EQ(order.name(), name);
    EXPECT_EQ(order.to(), 2u);
    EXPECT_EQ(order.budget_us(), 20'000u);
    EXPECT_TRUE(agents[2]->of(Envelope::kOrder).empty());

    agents[1]->done(order.order_id(), chassis::MOVED);  // not the holder's to say
    request_move(72, name);                             // joins
    EXPECT_FALSE(until([&] { return !outcomes().empty(); }, 200));
    agents[2]->done(order.order_id(), chassis::MOVED, in_an_hour_ms());
    ASSERT_TRUE(until([&] { return outcomes().size() == 2; }));
    EXPECT_THAT(agents[1]->of(Envelope::kOrder), SizeIs(1));
    for (const link::MoveOutcome& outcome : outcomes()) {
        EXPECT_EQ(outcome.result(), link::MOVED);
        EXPECT_EQ(outcome.now().name(), name);
        EXPECT_EQ(outcome.now().holder(), 2u);
        EXPECT_NEAR(static_cast<double>(outcome.now().expires_unix_s()),
                    static_cast<double>(in_an_hour_ms() / 1000), 5);
    }
    EXPECT_EQ(outcomes()[0].move_id() + outcomes()[1].move_id(), 143u);

    request_move(73, name);  // it is there already
    ASSERT_TRUE(until([&] { return outcomes().size() == 3; }));
    EXPECT_EQ(outcomes()[2].result(), link::MOVED);
    request_move(74, name, 1, 1);  // back: the directory knows that blade 2 has it
    ASSERT_TRUE(until([&] { return !agents[2]->of(Envelope::kOrder).empty(); }));
    agents[1]->done(agents[2]->of(Envelope::kOrder)[0].order().order_id(), chassis::MOVED, in_an_hour_ms());
    ASSERT_TRUE(until([&] { return outcomes().size() == 4; }));
    EXPECT_EQ(outcomes()[3].now().holder(), 1u);

    const nlohmann::json moves = keyrail({"stats"}).json["moves"];
    EXPECT_EQ(moves["ordered"], 2);
    EXPECT_EQ(moves["joined"], 1);
    EXPECT_EQ(moves["moved"], 2);
    EXPECT_GT(moves["p50_us"], 0);
    EXPECT_EQ(keyrail({"status"}).json["moved_sessions"], 0);  // home again
}

TEST_F(Keyraild, MovesThatDoNotHappen) {
    start_whole();
    request_move(1, name_of(1));
    ASSERT_TRUE(until([&] { return !agents[1]->of(Envelope::kOrder).empty(); }));
    agents[1]->done(agents[1]->of(Envelope::kOrder)[0].order().order_id(), chassis::NOT_FOUND);
    ASSERT_TRUE(until([&] { return outcomes().size() == 1; }));
    EXPECT_EQ(outcomes()[0].result(), link::NOT_FOUND);
    EXPECT_FALSE(outcomes()[0].has_now());

    request_move(2, "short");
    request_move(3, name_of(1, 3), 1, 1);
    request_move(4, name_of(1, 4), 1, 3);       // not in the service's pool
    request_move(5, name_of(1, 5), 3, 2);       // no such blade
    request_move(6, name_of(1, 6), 70'000, 2);  // no blade at all
    ASSERT_TRUE(until([&] { return outcomes().size() == 6; }));
    for (size_t i = 1; i < 6; i++) EXPECT_EQ(outcomes()[i].result(), link::REFUSED) << i;

    agents.erase(2);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    request_move(7, name_of(1, 7));
    ASSERT_TRUE(until([&] { return outcomes().size() == 7; }));
    EXPECT_EQ(outcomes()[6].result(), link::UNREACHABLE);
    EXPECT_THAT(agents[1]->of(Envelope::kOrder), SizeIs(1));
}

TEST_F(Keyraild, TheHoldersAgentDiesInTheMiddle) {
    start_whole();
    const std::string name = name_of(1);
    request_move(1, name);
    ASSERT_TRUE(until([&] { return !agents[1]->of(Envelope::kOrder).empty(); }));
    const uint64_t order = agents[1]->of(Envelope::kOrder)[0].order().order_id();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return outcomes().size() == 1; }));
    EXPECT_EQ(outcomes()[0].result(), link::UNREACHABLE);
    // It had sent the session before it died: the target says so, and the dataplane learns where it is.
    const size_t entries = dataplane->of(ToDataplane::kMovedEntries).size();
    agents[2]->done(order, chassis::MOVED, in_an_hour_ms());
    ASSERT_TRUE(until([&] { return dataplane->of(ToDataplane::kMovedEntries).size() > entries; }));
    const link::MovedEntries learned = dataplane->of(ToDataplane::kMovedEntries).back().moved_entries();
    EXPECT_FALSE(learned.replace_all());
    ASSERT_EQ(learned.entries_size(), 1);
    EXPECT_EQ(learned.entries(0).name(), name);
    EXPECT_EQ(learned.entries(0).holder(), 2u);
    EXPECT_THAT(outcomes(), SizeIs(1));
}

TEST_F(Keyraild, AnOrderThatNobodyAnswersIsLost) {
    start_whole();
    request_move(1, name_of(1));
    ASSERT_TRUE(until([&] { return outcomes().size() == 1; }, 7000));
    EXPECT_EQ(outcomes()[0].result(), link::LOST);
}

TEST_F(Keyraild, AnnouncementsAreCheckedAndPassedOn) {
    start_whole();
    const std::string away = name_of(1), other = name_of(1, 2), home = name_of(2, 1), foreign(32, 'x');
    bring(away, 1, 2);
    const auto receipts = bring(other, 1, 2);
    agents[2]->announce({away, home, foreign, "short"}, in_an_hour_ms(), true, receipts);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["moved_sessions"] == 1; }));
    agents[2]->announce({other}, in_an_hour_ms(), false, receipts);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["moved_sessions"] == 2; }));
    EXPECT_EQ(keyrail({"stats"}).json["moves"]["announced_in_vain"], 2) << "those that are no names of ours";
    const size_t before = dataplane->of(ToDataplane::kMovedEntries).size();
    agents[2]->announce({}, 0, true);
    ASSERT_TRUE(until([&] { return dataplane->of(ToDataplane::kMovedEntries).size() > before; }));
    EXPECT_TRUE(dataplane->of(ToDataplane::kMovedEntries).back().moved_entries().replace_all());
    EXPECT_EQ(keyrail({"status"}).json["moved_sessions"], 0);
}

/// A blade that was taken over claims sessions whose names it made up, or saw.
TEST_F(Keyraild, WhatIsMerelyClaimedCountsForNothing) {
    start_whole();
    const auto receipts = bring(name_of(1), 1, 2);
    FakeAgent::Receipts borrowed;
    std::vector<std::string> claimed;
    for (uint8_t i = 1; i <= 200; i++) {
        claimed.push_back(name_of(1, i));
        borrowed[claimed.back()] = receipts.at(name_of(1));
    }
    agents[2]->announce(claimed, in_an_hour_ms(), false, borrowed);
    ASSERT_TRUE(until([&] { return keyrail({"stats"}).json["moves"]["announced_in_vain"] == 200; }));
    EXPECT_EQ(keyrail({"status"}).json["moved_sessions"], 1);
    EXPECT_EQ(keyrail({"session", "where", hex(name_of(1, 7))}).json["holder"], 1);
}

TEST_F(Keyraild, ABladeCannotAnswerForAnother) {
    start_whole();
    agents[1]->holds().set_held(true);
    agents[1]->holds().set_tls_version(0x0303);
    for (int i = 0; i < 20; i++) {
        for (uint64_t request = 1; request <= 200; request++) {
            Envelope lie;
            lie.set_request(request);
            if (request % 3 == 0) lie.mutable_list_reply()->set_done(true);
            if (request % 3 == 1) lie.mutable_query_reply()->set_held(false);
            if (request % 3 == 2) lie.mutable_purge_reply();
            agents[2]->send(lie);
        }
        ASSERT_EQ(keyrail({"session", "where", hex(name_of(1))}).json["held"], true) << i;
    }
}

TEST_F(Keyraild, RefusedTransfersAreCountedAndNamed) {
    start_whole();
    Envelope message;
    message.mutable_transfers_refused()->set_from(1);
    message.mutable_transfers_refused()->set_count(17);
    message.mutable_transfers_refused()->set_reason("keyraild has not announced it");
    agents[2]->send(message);
    ASSERT_TRUE(until([&] { return keyrail({"stats"}).json["moves"]["transfers_refused"] == 17; }));
    EXPECT_THAT(daemon->log(), HasSubstr("blade 2 has refused 17 sessions that blade 1 sent"));
}

TEST_F(Keyraild, APurgeIsAnsweredWhenItIsTrueOrSaysWhereItIsNot) {
    start_whole();
    bring(name_of(1), 1, 2);
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    dataplane->received.clear();
    const auto purged = keyrail({"session", "purge", "--all"});
    EXPECT_EQ(purged.status, 1);
    ASSERT_EQ(purged.json["failed"].size(), 1u) << purged.text;
    EXPECT_EQ(purged.json["failed"][0]["blade"], 1);
    const auto entries = dataplane->of(ToDataplane::kMovedEntries);
    ASSERT_FALSE(entries.empty()) << "the dataplane's table is cleared before it is answered";
    EXPECT_TRUE(entries.front().moved_entries().replace_all());
    EXPECT_EQ(entries.front().moved_entries().entries_size(), 0);
    connect_agent(1);
    ASSERT_TRUE(until([&] { return !agents[1]->of(Envelope::kPurge).empty(); }))
        << "it is told when it is back";
    EXPECT_TRUE(agents[1]->of(Envelope::kPurge)[0].purge().all());
    until([] { return false; }, 1500);
    EXPECT_EQ(agents[1]->of(Envelope::kPurge).size(), 1u) << "it has answered";
}

/// Who has not answered is told by the next keyraild, and by the same number: what orders from before brought
/// is stopped by it.
TEST_F(Keyraild, APurgeOutlivesARestart) {
    start_whole();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    EXPECT_EQ(keyrail({"session", "purge", "--service", "www"}).status, 1);
    ASSERT_EQ(agents[2]->of(Envelope::kPurge).size(), 1u);
    const uint64_t number = agents[2]->of(Envelope::kPurge)[0].purge().number();
    agents.clear();
    kill_daemon();
    start();
    connect_agent(2);
    connect_agent(1);
    ASSERT_TRUE(until([&] { return !agents[1]->of(Envelope::kPurge).empty(); }));
    EXPECT_EQ(agents[1]->of(Envelope::kPurge)[0].purge().service(), "www");
    EXPECT_EQ(agents[1]->of(Envelope::kPurge)[0].purge().number(), number);
    until([] { return false; }, 1500);  // and with its answer it is over
    agents.clear();
    kill_daemon();
    start();
    for (const uint16_t blade : {uint16_t{1}, uint16_t{2}}) connect_agent(blade);
    until([] { return false; }, 1500);
    for (const uint16_t blade : {uint16_t{1}, uint16_t{2}})
        EXPECT_TRUE(agents[blade]->of(Envelope::kPurge).empty()) << blade;
}

/// A blade that is out of the configuration for a while has its sessions still.
TEST_F(Keyraild, APurgeWaitsForABladeThatIsNotConfiguredNow) {
    start_whole();
    agents.erase(2);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    EXPECT_EQ(keyrail({"session", "purge", "--all"}).status, 1);
    write_config(good_config(1));
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    write_config(good_config());
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    connect_agent(2);
    EXPECT_TRUE(until([&] { return !agents[2]->of(Envelope::kPurge).empty(); }));
}

TEST_F(Keyraild, WhereASessionIs) {
    start_whole();
    const std::string name = name_of(1);
    agents[1]->holds().set_held(true);
    agents[1]->holds().set_tls_version(0x0303);
    agents[1]->holds().set_expires_ms(1'900'000'000'000);
    auto where = keyrail({"session", "where", hex(name)});
    ASSERT_EQ(where.status, 0) << where.text;
    EXPECT_EQ(where.json["home"], 1);
    EXPECT_EQ(where.json["holder"], 1);
    EXPECT_EQ(where.json["held"], true);
    EXPECT_EQ(where.json["tls_version"], "1.2");
    EXPECT_EQ(where.json["expires"], "2030-03-17T17:46:40Z");
    bring(name, 1, 2);
    where = keyrail({"session", "where", hex(name)});
    EXPECT_EQ(where.json["home"], 1);
    EXPECT_EQ(where.json["held"], false);  // blade 2 says no
    agents.erase(2);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    where = keyrail({"session", "where", hex(name)});
    EXPECT_EQ(where.json["held"], nullptr);
    EXPECT_THAT(where.json["problem"], HasSubstr("not connected"));
    EXPECT_EQ(keyrail({"session", "where", hex(std::string(32, 'x'))}).status, 1);
    EXPECT_EQ(keyrail({"session", "where", "abc"}).status, 1);
}

// --- the operator

TEST_F(Keyraild, DrainAndResume) {
    start_whole();
    const auto drained = keyrail({"blade", "drain", "1"});
    EXPECT_EQ(drained.status, 0) << drained.text;
    EXPECT_EQ(drained.json["state"], "draining");
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_DRAINING; }));
    EXPECT_EQ(keyrail({"blade", "drain", "2"}).json["notes"].size(), 1u);  // nobody is left
    EXPECT_EQ(keyrail({"blade", "resume", "1"}).status, 0);
    ASSERT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_OPEN; }));
    const auto unknown = keyrail({"blade", "drain", "9"});
    EXPECT_EQ(unknown.status, 1);
    EXPECT_THAT(unknown.text, HasSubstr("there is no blade '9'; blades are: 1, 2"));
    EXPECT_EQ(keyrail({"blade", "drain"}).status, 2);
    EXPECT_EQ(keyrail({"nonsense"}).status, 2);
}

TEST_F(Keyraild, Stats) {
    start_whole();
    for (uint32_t worker = 0; worker < 2; worker++) {
        link::WorkerStats& stats = *dataplane->stats.add_workers();
        stats.set_worker(worker);
        for (const auto& [name, value] : {std::pair{"rx", 10},
                                          {"tx", 6},
                                          {"punt", 1},
                                          {"held", 1},
                                          {"drop_fragment", 2},
                                          {"flow", 5},
                                          {"holds", 1}}) {
            stats.add_counters()->set_name(name);
            stats.mutable_counters()->rbegin()->set_value(static_cast<uint64_t>(value));
        }
    }
    auto stats = keyrail({"stats"});
    ASSERT_EQ(stats.status, 0) << stats.text;
    EXPECT_EQ(stats.json["rx"], 20);
    EXPECT_EQ(stats.json["drops"], 4);
    EXPECT_EQ(stats.json["conserved"], true);
    EXPECT_EQ(stats.json["reasons"]["flow"], 10);
    EXPECT_EQ(stats.json["reasons"]["drop_no_blade"], 0);
    EXPECT_EQ(stats.json["workers"].size(), 2u);
    dataplane->stats.mutable_workers(0)->mutable_counters(0)->set_value(11);
    EXPECT_EQ(keyrail({"stats"}).json["conserved"], false);
    dataplane.reset();
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["dataplane"]["connected"] == false; }));
    stats = keyrail({"stats"});
    EXPECT_EQ(stats.status, 0);
    EXPECT_FALSE(stats.json.contains("rx"));
    EXPECT_TRUE(stats.json.contains("moves"));
}

TEST_F(Keyraild, ABadConfigurationChangesNothing) {
    start_whole();
    const size_t snapshots = dataplane->of(ToDataplane::kSnapshot).size();
    write_config(good_config() + "[extra]\n");
    const auto refused = keyrail({"config", "reload"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.text, HasSubstr("unknown key 'extra'"));
    daemon->signal(SIGHUP);
    ASSERT_TRUE(until([&] { return daemon->log().find("nothing has changed") != std::string::npos; }));
    EXPECT_EQ(keyrail({"blade", "list"}).json.size(), 2u);
    EXPECT_EQ(dataplane->of(ToDataplane::kSnapshot).size(), snapshots);
    std::string moved = good_config();
    moved.replace(moved.find(run_dir.string()), run_dir.string().size(), "/tmp");
    write_config(moved);
    EXPECT_THAT(keyrail({"config", "reload"}).text, HasSubstr("restart it"));
}

TEST_F(Keyraild, AGoodConfigurationIsApplied) {
    start_whole();
    write_config(good_config(3));
    daemon->signal(SIGHUP);
    ASSERT_TRUE(until([&] { return dataplane->snapshot()->blades_size() == 3; }));
    EXPECT_EQ(dataplane->intake(1), link::INTAKE_OPEN);  // those that stay do not flap
    EXPECT_EQ(dataplane->intake(3), link::INTAKE_NONE);
    ASSERT_TRUE(until([&] { return agents[1]->of(Envelope::kKeys).size() == 2; }));
    EXPECT_EQ(agents[1]->of(Envelope::kKeys)[1].keys().peers_size(), 2);
    connect_agent(3);
    agents[3]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->intake(3) == link::INTAKE_OPEN; }));
    write_config(good_config(2));
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    ASSERT_TRUE(until([&] { return dataplane->snapshot()->services(0).blade_ids_size() == 2; }));
    EXPECT_TRUE(until([&] { return !agents[3]->ended().empty(); }));
    EXPECT_EQ(keyrail({"blade", "list"}).json.size(), 2u);
    // It takes nothing more, and keeps what it has.
    EXPECT_EQ(dataplane->snapshot()->blades_size(), 3);
    EXPECT_EQ(dataplane->intake(3), link::INTAKE_NONE);
    EXPECT_FALSE(dataplane->gone(3));
    EXPECT_EQ(keyrail({"status"}).json["left"][0]["id"], 3);
}

// --- restarts

TEST_F(Keyraild, KillAndRestart) {
    start_whole();
    const link::Snapshot before = *dataplane->snapshot();
    const std::string name = name_of(1);
    const auto receipts = bring(name, 1, 2);
    EXPECT_EQ(keyrail({"blade", "drain", "2"}).status, 0);
    ASSERT_TRUE(until([&] { return dataplane->intake(2) == link::INTAKE_DRAINING; }));
    kill_daemon();
    dataplane->received.clear();

    start();
    for (uint16_t id = 1; id <= kBlades; id++) connect_agent(id);
    EXPECT_EQ(name_of(1), name);  // the same name keys
    agents[2]->announce({name}, in_an_hour_ms(), true, receipts);
    for (auto& [id, agent] : agents) agent->health(true);
    ASSERT_TRUE(until([&] { return dataplane->snapshot() != nullptr; }));
    const auto snapshots = dataplane->of(ToDataplane::kSnapshot);
    for (const auto& message : snapshots) {  // from the first on: nobody flaps
        EXPECT_EQ(message.snapshot().blades(0).intake(), link::INTAKE_OPEN);
        EXPECT_EQ(message.snapshot().blades(1).intake(), link::INTAKE_DRAINING);
        EXPECT_GT(message.snapshot().generation(), before.generation());
    }
    EXPECT_EQ(dataplane->snapshot()->cookie_keys(0).key(), before.cookie_keys(0).key());
    ASSERT_TRUE(until([&] { return keyrail({"session", "where", hex(name)}).json["holder"] == 2; }));
}

TEST_F(Keyraild, StopsCleanly) {
    start_whole();
    daemon->signal(SIGTERM);
    ASSERT_TRUE(until([&] { return daemon->ended(); }));
    EXPECT_EQ(daemon->wait(), 0);
    EXPECT_FALSE(std::filesystem::exists(run_dir / "keyraild.sock"));
    const auto answer = keyrail({"status"});
    EXPECT_EQ(answer.status, 1);
    EXPECT_THAT(answer.text, HasSubstr("cannot reach keyraild at"));
    EXPECT_THAT(answer.text, HasSubstr("is it running?"));
}

TEST_F(Keyraild, ASecondOneKeepsAway) {
    start_whole();
    Process second({std::getenv("KR_KEYRAILD"), "--config", config_file().string()},
                   chassis.directory() / "log2");
    ASSERT_TRUE(until([&] { return second.ended(); }));
    EXPECT_EQ(second.wait(), 1);
    EXPECT_THAT(second.log(), HasSubstr("another keyraild listens there already"));
    EXPECT_EQ(keyrail({"status"}).status, 0);
}

TEST_F(Keyraild, SecretsStayPrivate) {
    start_whole();
    const std::string key = agents[1]->of(Envelope::kKeys)[0].keys().name_keys(0).key();
    EXPECT_EQ(daemon->log().find(key), std::string::npos);
    EXPECT_EQ(daemon->log().find(hex(key)), std::string::npos);
    for (const auto& file : std::filesystem::directory_iterator(chassis.directory() / "state")) {
        std::ifstream stream(file.path(), std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(stream), {}};
        EXPECT_EQ(text.find(key), std::string::npos) << file.path();
        EXPECT_EQ(std::filesystem::status(file.path()).permissions(),
                  std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    }
    EXPECT_EQ(std::filesystem::status(run_dir / "keyraild.sock").permissions() & std::filesystem::perms::mask,
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(Keyraild, CheckSaysWhatIsWrong) {
    const auto check = [&](const char* option, const std::string& program) {
        std::filesystem::remove(chassis.directory() / "check");
        std::vector<std::string> words = {program, option, config_file().string()};
        if (program == std::getenv("KR_KEYRAIL")) words = {program, "config", option, config_file().string()};
        Process process(words, chassis.directory() / "check");
        const int status = process.wait();
        return std::pair{status, process.log()};
    };
    const std::string ok = config_file().string() + ": ok\n";
    EXPECT_EQ(check("--check", std::getenv("KR_KEYRAILD")), std::pair(0, ok));
    EXPECT_EQ(check("check", std::getenv("KR_KEYRAIL")), std::pair(0, ok));
    write_config(good_config() + "port = 80\n");
    const auto [status, text] = check("--check", std::getenv("KR_KEYRAILD"));
    EXPECT_EQ(status, 1);
    EXPECT_THAT(text, HasSubstr(config_file().string() + ":"));
    EXPECT_EQ(check("check", std::getenv("KR_KEYRAIL")), std::pair(1, text));
}

}  // namespace
}  // namespace keyrail
