// SPDX-License-Identifier: Apache-2.0
// Configurations on trial and for good: the real keyraild and the real keyrail. What is in force, what a
// restart comes up on, who may change it when, and what goes back by itself.
#include <gmock/gmock.h>

#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

using chassis::Envelope;
using link::ToDataplane;
using ::testing::HasSubstr;
using testing::KeyraildBench;
using ::testing::Not;

class Revisions : public KeyraildBench {
  protected:
    /// A file beside keyraild's own.
    std::string file(const std::string& name, const std::string& text) const {
        const auto path = chassis.directory() / name;
        std::ofstream(path) << text;
        return path.string();
    }
    Answer apply(const std::string& text, std::vector<std::string> more = {}) {
        std::vector<std::string> words{"config", "apply", file("next.toml", text), "--no-wait"};
        words.insert(words.end(), more.begin(), more.end());
        return keyrail(words);
    }
    [[nodiscard]] std::string with_ping(bool ping) const {
        return good_config() + fmt::format("ping = {}\n", ping);
    }
    bool in_force(bool ping) {
        return until(
            [&] { return dataplane->snapshot() && dataplane->snapshot()->services(0).ping() == ping; });
    }
    uint64_t revision() { return keyrail({"config", "show"}).json["revision"].get<uint64_t>(); }
    nlohmann::json entry(uint64_t number) { return keyrail({"config", "show", std::to_string(number)}).json; }
    bool pending() { return !keyrail({"config", "history"}).json["pending"].is_null(); }
    /// The agents say that they go by what they were sent last.
    void take_everything() {
        until([] { return false; }, 100);
        for (auto& [id, agent] : agents) agent->health(true);
        until([] { return false; }, 100);
    }
};

TEST_F(Revisions, AppliedAndRolledBackByNumber) {
    start_whole();
    EXPECT_EQ(revision(), 1u);
    EXPECT_EQ(entry(1)["from"], "start");
    const auto applied = apply(with_ping(false), {"-m", "no ping"});
    ASSERT_EQ(applied.status, 0) << applied.text;
    EXPECT_EQ(applied.json["revision"], 2);
    EXPECT_TRUE(in_force(false));
    EXPECT_EQ(entry(2)["message"], "no ping");
    EXPECT_EQ(entry(2)["actor"], "root");
    EXPECT_EQ(entry(2)["result"], "applied");
    EXPECT_EQ(keyrail({"config", "rollback", "1", "--no-wait"}).json["revision"], 3);
    EXPECT_TRUE(in_force(true));
    EXPECT_EQ(entry(3)["from"], "rollback");
    EXPECT_EQ(keyrail({"config", "rollback", "9"}).status, 6);
    EXPECT_EQ(keyrail({"config", "show", "9"}).status, 6);
}

/// The file that was rolled back is still there: a restart does not take it again.
TEST_F(Revisions, ARestartComesUpOnWhatIsInForce) {
    start_whole();
    write_config(with_ping(false));
    EXPECT_EQ(keyrail({"config", "reload"}).status, 0);
    EXPECT_EQ(entry(2)["from"], "reload");
    EXPECT_EQ(keyrail({"config", "rollback", "1", "--no-wait"}).status, 0);
    kill_daemon();
    start();
    EXPECT_EQ(revision(), 3u);
    EXPECT_THAT(daemon->log(), HasSubstr("says something else"));
    for (const BladeId id : testing::blade_ids(kBlades)) connect_agent(id);
    take_everything();
    EXPECT_TRUE(in_force(true));
    // One that was edited is taken, as ever.
    kill_daemon();
    write_config(good_config() + "proxy_protocol = false\n");
    start();
    EXPECT_EQ(entry(revision())["from"], "start");
    EXPECT_EQ(revision(), 4u);
    // And one that is wrong does not keep the chassis down.
    kill_daemon();
    write_config(good_config() + "nonsense = false\n");
    start();
    EXPECT_EQ(revision(), 4u);
    EXPECT_THAT(daemon->log(), HasSubstr("unknown key 'nonsense'"));
}

TEST_F(Revisions, OnTrialAndConfirmed) {
    start_whole();
    const auto applied = apply(with_ping(false), {"--confirm", "30s"});
    ASSERT_EQ(applied.status, 0) << applied.text;
    EXPECT_EQ(applied.json["pending"]["back_to"], 1);
    take_everything();
    EXPECT_TRUE(in_force(false));
    EXPECT_EQ(keyrail({"config", "confirm"}).json["revision"], 2);
    EXPECT_EQ(entry(2)["result"], "confirmed");
    EXPECT_EQ(keyrail({"config", "confirm"}).status, 5);
    EXPECT_EQ(keyrail({"config", "cancel"}).status, 5);
    kill_daemon();
    start();
    EXPECT_EQ(revision(), 2u);
}

TEST_F(Revisions, OnTrialAndNotConfirmed) {
    start_whole();
    ASSERT_EQ(apply(with_ping(false), {"--confirm", "1s"}).status, 0);
    take_everything();
    EXPECT_TRUE(in_force(false));
    EXPECT_TRUE(in_force(true));  // by itself
    EXPECT_EQ(revision(), 1u);
    EXPECT_EQ(entry(2)["result"], "rolled back");
    EXPECT_EQ(entry(2)["why"], "it was not confirmed in time");
    EXPECT_THAT(daemon->log(), HasSubstr("revision 2 is rolled back to 1"));
    EXPECT_THAT(keyrail({"event", "list"}).text, HasSubstr("config.rolled_back"));
}

TEST_F(Revisions, OnTrialAndCancelled) {
    start_whole();
    ASSERT_EQ(apply(with_ping(false), {"--confirm", "30s"}).status, 0);
    EXPECT_TRUE(in_force(false));
    EXPECT_EQ(keyrail({"config", "cancel"}).json["revision"], 1);
    EXPECT_TRUE(in_force(true));
    EXPECT_EQ(entry(2)["why"], "root cancelled it");
}

/// kill -9, or the power: there is no time to tidy up.
TEST_F(Revisions, KilledWhileOnTrial) {
    start_whole();
    write_config(with_ping(false));  // the operator's file itself
    ASSERT_EQ(keyrail({"config", "apply", config_file().string(), "--confirm", "300s", "--no-wait"}).status,
              0);
    EXPECT_TRUE(in_force(false));
    kill_daemon();
    start();
    for (const BladeId id : testing::blade_ids(kBlades)) connect_agent(id);
    take_everything();
    EXPECT_TRUE(in_force(true));
    EXPECT_EQ(revision(), 1u);
    EXPECT_FALSE(pending());
    EXPECT_EQ(entry(2)["why"], "keyraild ended before it was confirmed");
    EXPECT_THAT(daemon->log(), HasSubstr("never confirmed"));
}

TEST_F(Revisions, OneAtATime) {
    start_whole();
    ASSERT_EQ(apply(with_ping(false), {"--confirm", "30s"}).status, 0);
    take_everything();
    const auto second = apply(with_ping(true));
    EXPECT_EQ(second.status, 5);
    EXPECT_THAT(second.text, HasSubstr("revision 2 of root waits for its confirmation"));
    EXPECT_EQ(keyrail({"config", "reload"}).status, 5);
    EXPECT_EQ(keyrail({"config", "rollback", "1"}).status, 5);
    daemon->signal(SIGHUP);
    EXPECT_TRUE(until([&] { return daemon->log().find("waits for its confirmation") != std::string::npos; }));
    EXPECT_TRUE(in_force(false));
    EXPECT_TRUE(pending());
}

TEST_F(Revisions, OnlyIfNobodyWasFaster) {
    start_whole();
    EXPECT_EQ(apply(with_ping(false), {"--if-revision", "1"}).status, 0);
    EXPECT_EQ(apply(with_ping(true), {"--if-revision", "1"}).status, 5);
    EXPECT_EQ(revision(), 2u);
}

/// An agent hangs, or cannot do what it is told.
TEST_F(Revisions, ATrialThatIsNotTakenGoesBack) {
    start_whole();
    take_everything();
    ASSERT_EQ(apply(with_ping(false), {"--confirm", "300s"}).status, 0);
    // Blade 2's agent does not say that it goes by the new one.
    until([] { return false; }, 100);
    agents[1]->health(true);
    EXPECT_TRUE(until([&] { return !pending(); }, 8000));
    const std::string why = entry(2)["why"];
    EXPECT_THAT(why, HasSubstr("not taken in 5 s by"));
    EXPECT_THAT(why, HasSubstr("the agent of blade 2"));
    EXPECT_THAT(why, Not(HasSubstr("the agent of blade 1")));
}

TEST_F(Revisions, ATrialThatTakesTheLastBladeGoesBack) {
    start_whole();
    std::string text = good_config();
    const std::string ids = "blades = [1, 2]";
    text.replace(text.find(ids), ids.size(), "blades = [3]");
    text += "[[blade]]\nid = 3\nname = \"b3\"\naddress = \"127.0.1.3\"\n";
    ASSERT_EQ(apply(text, {"--confirm", "300s"}).status, 0);
    take_everything();
    EXPECT_TRUE(until([&] { return !pending(); }, 4500));
    EXPECT_THAT(entry(2)["why"].get<std::string>(), HasSubstr("service www has no blade any more"));
    take_everything();
    EXPECT_TRUE(until([&] { return dataplane->intake(1) == link::INTAKE_OPEN; }));
}

/// Neither in force, nor in the history, nor on the disk.
TEST_F(Revisions, WhatIsRefusedLeavesNothingBehind) {
    start_whole();
    const auto history = [&] { return keyrail({"config", "history"}).text; };
    const std::string before = history();
    const size_t snapshots = dataplane->of(ToDataplane::kSnapshot).size();
    const auto bad = apply(good_config() + "pingg = true\n", {"--confirm", "30s"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.json["error"]["mistakes"][0]["fix"], "did you mean 'ping'?");
    EXPECT_TRUE(bad.json["error"]["mistakes"][0]["at"]["line"].is_number());
    std::string moved = good_config();
    moved.replace(moved.find("state_dir"), 9, "busy_poll = \"1ms\"\nstate_dir");
    EXPECT_THAT(apply(moved).text, HasSubstr("restart it"));
    std::string taken = good_config();
    taken.replace(taken.find("127.0.0.1:"), 10, "192.0.2.1:");
    EXPECT_THAT(apply(taken).text, HasSubstr("cannot listen on"));
    EXPECT_EQ(history(), before);
    EXPECT_EQ(dataplane->of(ToDataplane::kSnapshot).size(), snapshots);
    EXPECT_FALSE(std::filesystem::exists(chassis.directory() / "state/history/2.toml"));
}

TEST_F(Revisions, WhoHoldsSessionsDoesNotGoUnasked) {
    start_whole();
    agents[2]->health(true, 12);
    ASSERT_TRUE(until([&] { return keyrail({"blade", "list"}).json[1]["sessions"] == 12; }));
    std::string text = good_config(1);
    const auto refused = apply(text);
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.json["error"]["code"], "harm");
    EXPECT_EQ(refused.json["error"]["losses"][0]["blade"], 2);
    EXPECT_THAT(refused.text, HasSubstr("12 sessions"));
    const auto diff = keyrail({"config", "diff", file("next.toml", text), "--effect"});
    EXPECT_THAT(diff.text, HasSubstr("blade 2 (b2) goes: 12 sessions end"));
    EXPECT_EQ(revision(), 1u);
    EXPECT_EQ(apply(text, {"--yes"}).status, 0);
    EXPECT_EQ(keyrail({"blade", "list"}).json.size(), 1u);
}

TEST_F(Revisions, DiffsByObjectAndKey) {
    start_whole();
    const auto diff = keyrail({"config", "diff", file("next.toml", with_ping(false))});
    ASSERT_EQ(diff.status, 0) << diff.text;
    ASSERT_EQ(diff.json["changes"].size(), 1u) << diff.text;
    EXPECT_EQ(diff.json["changes"][0]["object"], "[[service]] www");
    EXPECT_EQ(diff.json["changes"][0]["key"], "ping");
    EXPECT_EQ(apply(with_ping(false)).status, 0);
    EXPECT_EQ(keyrail({"config", "diff", "1", "2"}).json["changes"], diff.json["changes"]);
}

}  // namespace
}  // namespace keyrail
