// SPDX-License-Identifier: Apache-2.0
// keyraild as a whole: the real program between a dataplane and agents of ours. What it publishes, what it
// keeps over kill -9, what it refuses.
#include "tests/support/keyraild_test.h"

namespace keyrail {
namespace {

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
    EXPECT_EQ(unknown.status, 6);
    EXPECT_EQ(unknown.json["error"]["message"], "there is no blade '9'");
    EXPECT_EQ(unknown.json["error"]["fix"], "blades are: 1 (b1), 2 (b2)");
    EXPECT_EQ(keyrail({"blade", "drain", "b2"}).json["id"], 2) << "by name, too";
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
    for (const BladeId id : testing::blade_ids(kBlades)) connect_agent(id);
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
    EXPECT_EQ(answer.status, 3);
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
    for (const auto& file : std::filesystem::recursive_directory_iterator(chassis.directory() / "state")) {
        if (file.is_directory()) continue;
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
