// SPDX-License-Identifier: Apache-2.0
// keyraild orders moves: what it takes from agents, and what it does not.
#include "tests/support/keyraild_test.h"

namespace keyrail {
namespace {

class KeyraildMoves : public KeyraildBench {};

TEST_F(KeyraildMoves, AMove) {
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

TEST_F(KeyraildMoves, MovesThatDoNotHappen) {
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

TEST_F(KeyraildMoves, TheHoldersAgentDiesInTheMiddle) {
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

TEST_F(KeyraildMoves, AnOrderThatNobodyAnswersIsLost) {
    start_whole();
    request_move(1, name_of(1));
    ASSERT_TRUE(until([&] { return outcomes().size() == 1; }, 7000));
    EXPECT_EQ(outcomes()[0].result(), link::LOST);
}

TEST_F(KeyraildMoves, AnnouncementsAreCheckedAndPassedOn) {
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
TEST_F(KeyraildMoves, WhatIsMerelyClaimedCountsForNothing) {
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

TEST_F(KeyraildMoves, ABladeCannotAnswerForAnother) {
    start_whole();
    agents[1]->holds().set_held(true);
    agents[1]->holds().set_tls_version(number_of(TlsVersion::tls12));
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

TEST_F(KeyraildMoves, RefusedTransfersAreCountedAndNamed) {
    start_whole();
    Envelope message;
    message.mutable_transfers_refused()->set_from(1);
    message.mutable_transfers_refused()->set_count(17);
    message.mutable_transfers_refused()->set_reason("keyraild has not announced it");
    agents[2]->send(message);
    ASSERT_TRUE(until([&] { return keyrail({"stats"}).json["moves"]["transfers_refused"] == 17; }));
    EXPECT_THAT(daemon->log(), HasSubstr("blade 2 has refused 17 sessions that blade 1 sent"));
}

TEST_F(KeyraildMoves, APurgeIsAnsweredWhenItIsTrueOrSaysWhereItIsNot) {
    start_whole();
    bring(name_of(1), 1, 2);
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    dataplane->received.clear();
    const auto purged = keyrail({"session", "purge", "--all", "--yes"});
    EXPECT_EQ(purged.status, 7);
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
TEST_F(KeyraildMoves, APurgeOutlivesARestart) {
    start_whole();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    EXPECT_EQ(keyrail({"session", "purge", "--service", "www"}).status, 7);
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
    for (const BladeId blade : testing::blade_ids(2)) connect_agent(blade);
    until([] { return false; }, 1500);
    for (const BladeId blade : testing::blade_ids(2))
        EXPECT_TRUE(agents[blade]->of(Envelope::kPurge).empty()) << blade;
}

/// A blade that is out of the configuration for a while has its sessions still.
TEST_F(KeyraildMoves, ABladeThatWasNotConfiguredHearsOfAPurge) {
    start_whole();
    write_config(good_config(1));
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    agents.erase(2);
    EXPECT_EQ(keyrail({"session", "purge", "--all", "--yes"}).status, 0);
    write_config(good_config());
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    connect_agent(2);
    EXPECT_TRUE(until([&] { return !agents[2]->of(Envelope::kPurge).empty(); }));
}

TEST_F(KeyraildMoves, WhereASessionIs) {
    start_whole();
    const std::string name = name_of(1);
    agents[1]->holds().set_held(true);
    agents[1]->holds().set_tls_version(number_of(TlsVersion::tls12));
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
    EXPECT_EQ(keyrail({"session", "where", hex(std::string(32, 'x'))}).status, 6);
    EXPECT_EQ(keyrail({"session", "where", "abc"}).status, 2);
}

}  // namespace
}  // namespace keyrail
