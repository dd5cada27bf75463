// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of what agents say: conditions of blades, the dataplane's snapshot, a blade's keys.
#include <gmock/gmock.h>

#include "control/protocol/file.h"
#include "tests/support/blades_bench.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using test::BladesTest;
using test::kNow;

TEST_F(BladesTest, DownUntilAServerListens) {
    EXPECT_EQ(intake(1), BladeIntake::none);
    blades.connected(1);
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_EQ(blades.find(1)->why_none(), "no health report yet");
    EXPECT_TRUE(report(1, false, false));
    EXPECT_EQ(blades.find(1)->why_none(), "no server listens");
    EXPECT_TRUE(report(1, true, false));
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_FALSE(report(1, true, false));  // nothing new: no snapshot
}

TEST_F(BladesTest, AnAgentThatIsGoneIsNotABladeThatIsGone) {
    blades.connected(1);
    report(1, true, true);
    blades.disconnected(1);
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_TRUE(blades.silent(1, true));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_TRUE(blades.silent(1, false));
    EXPECT_EQ(intake(1), BladeIntake::none);  // it may have been started anew: it must report first
    blades.connected(1);
    report(1, true, true);
    EXPECT_EQ(intake(1), BladeIntake::open);
}

TEST_F(BladesTest, AConnectionThatOutlivesASilence) {
    blades.connected(1);
    report(1, true, true);
    EXPECT_TRUE(blades.silent(1, true));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_TRUE(blades.silent(1, false));
    EXPECT_EQ(intake(1), BladeIntake::open);  // the agent reports changes only: what it said still holds
}

TEST_F(BladesTest, DrainingIsKept) {
    report(1, true, true);
    ASSERT_TRUE(blades.set_draining(1, DrainOptions{100, 5}));
    EXPECT_EQ(intake(1), BladeIntake::draining);
    Blades later(dir / "blades.json");
    ASSERT_TRUE(later.load());
    later.configure(config, kNow);
    EXPECT_TRUE(later.find(1)->draining);
    EXPECT_EQ(later.find(1)->drain, (DrainOptions{100, 5}));
    ASSERT_TRUE(later.set_draining(1, std::nullopt));
    Blades latest(dir / "blades.json");
    ASSERT_TRUE(latest.load());
    latest.configure(config, kNow);
    EXPECT_FALSE(latest.find(1)->draining);
}

TEST_F(BladesTest, DrainingThatCannotBeKeptDoesNotHappen) {
    Blades nowhere(dir / "absent" / "blades.json");
    nowhere.configure(config, kNow);
    EXPECT_FALSE(nowhere.set_draining(1, DrainOptions{}));
    EXPECT_FALSE(nowhere.find(1)->draining);
}

TEST_F(BladesTest, ADamagedFileIsAnError) {
    for (const char* text :
         {"", "{", "[]", "{\"draining\": 1}", "{\"draining\": [0]}", "{\"draining\": [\"1\"]}"}) {
        ASSERT_TRUE(replace_file(dir / "blades.json", text, 0600));
        const auto loaded = Blades(dir / "blades.json").load();
        ASSERT_FALSE(loaded) << text;
        EXPECT_THAT(loaded.error().message, HasSubstr("remove it"));
    }
}

TEST_F(BladesTest, SmallChangesOfLoadMakeNoSnapshot) {
    report(1, true, true, 0);
    EXPECT_FALSE(report(1, true, true, 4000));
    EXPECT_TRUE(report(1, true, true, 4100));
    EXPECT_FALSE(report(1, true, true, 4000));
    report(1, true, true, UINT32_MAX);
    EXPECT_EQ(blades.find(1)->published_load, 65535u);
}

TEST_F(BladesTest, OverItsLimitUntilClearlyBelowIt) {
    config.blades[1].load_limit = 80;
    blades.configure(config, kNow);
    constexpr uint32_t kPercent = kLoadMax / 100;
    report(1, true, true, 80 * kPercent);
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_TRUE(report(1, true, true, 81 * kPercent)) << "the dataplane must be told";
    EXPECT_EQ(intake(1), BladeIntake::overloaded);
    EXPECT_FALSE(report(1, true, true, 79 * kPercent));
    EXPECT_EQ(intake(1), BladeIntake::overloaded) << "not clearly below";
    EXPECT_TRUE(report(1, true, true, 69 * kPercent));
    EXPECT_EQ(intake(1), BladeIntake::open);
    report(1, true, true, kLoadMax);
    const link::Snapshot snapshot = make_snapshot(config, *Secrets::create(), blades, economics);
    EXPECT_EQ(snapshot.blades(0).intake(), link::INTAKE_OVERLOADED);
    EXPECT_EQ(blades.serving({1}, config.services[0]), 1u) << "the last resort";
    ASSERT_TRUE(blades.set_draining(1, DrainOptions{}));
    EXPECT_EQ(intake(1), BladeIntake::draining);
    report(2, true, true, kLoadMax);
    EXPECT_EQ(intake(2), BladeIntake::open) << "no limit given";
}

TEST_F(BladesTest, AnotherLimitIsJudgedAnew) {
    constexpr uint32_t kPercent = kLoadMax / 100;
    report(1, true, true, 95 * kPercent);
    const auto limited = [&](uint8_t percent) {
        config.blades[1].load_limit = percent;
        blades.configure(config, kNow);
        return intake(1);
    };
    EXPECT_EQ(limited(90), BladeIntake::overloaded) << "without waiting for the next report";
    EXPECT_EQ(limited(97), BladeIntake::open) << "not clearly below it, but it was not over this one";
    EXPECT_EQ(limited(50), BladeIntake::overloaded);
    EXPECT_EQ(limited(100), BladeIntake::open) << "no limit";
    report(1, true, true, kLoadMax);
    EXPECT_EQ(intake(1), BladeIntake::open);
}

TEST_F(BladesTest, RoutesHavePoolsOfTheirOwn) {
    config.services[0].blades = {1};
    config.services[0].routes = {{"img.example.com", "h2", "img", {2}}};
    config.services[0].content_moves = false;
    config.services[0].hold_budget = std::chrono::milliseconds(7);
    blades.configure(config, kNow);
    report(1, true, true);
    report(2, true, true);
    EXPECT_TRUE(blades.find(2)->serves(443));
    const link::Service service = make_snapshot(config, *Secrets::create(), blades, economics).services(0);
    EXPECT_THAT(service.blade_ids(), ElementsAre(1));
    ASSERT_EQ(service.routes_size(), 1);
    EXPECT_EQ(service.routes(0).server_name(), "img.example.com");
    EXPECT_EQ(service.routes(0).alpn(), "h2");
    EXPECT_THAT(service.routes(0).blade_ids(), ElementsAre(2));
    EXPECT_FALSE(service.content_moves());
    EXPECT_EQ(service.hold_budget_us(), 7000u);
    EXPECT_EQ(service.hold_budget_tls13_us(), 7000u);
    EXPECT_EQ(make_keys(config, *Secrets::create(), 2).services_size(), 2) << "it may hold their sessions";
}

TEST_F(BladesTest, Snapshot) {
    const auto secrets = Secrets::create();
    report(1, true, true);
    report(2, true, false);
    const link::Snapshot snapshot = make_snapshot(config, *secrets, blades, economics);
    EXPECT_EQ(snapshot.cookie_keys_size(), 1);
    EXPECT_EQ(snapshot.name_keys_size(), 1);
    EXPECT_EQ(snapshot.blades(0).intake(), link::INTAKE_OPEN);
    EXPECT_EQ(snapshot.blades(1).intake(), link::INTAKE_OPEN);
    EXPECT_EQ(snapshot.blades(0).address(), (std::string{10, 77, 0, 11}));
    EXPECT_THAT(snapshot.services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_THAT(snapshot.services(1).blade_ids(), ElementsAre(1));  // no mail server on blade 2
    report(1, true, false);
    EXPECT_THAT(make_snapshot(config, *secrets, blades, economics).services(1).blade_ids(),
                ElementsAre(1, 2));
}

// --- new sessions, flows, gone: three things

TEST_F(BladesTest, WhateverItTakesItsFlowsLiveUntilItIsGone) {
    const auto published = [&] {
        return make_snapshot(config, *Secrets::create(), blades, economics).blades(0);
    };
    blades.connected(1);
    report(1, true, true);
    const auto expect_lives = [&](link::Intake intake, const char* when) {
        EXPECT_EQ(published().intake(), intake) << when;
        EXPECT_FALSE(published().gone()) << when;
    };
    expect_lives(link::INTAKE_OPEN, "up");
    ASSERT_TRUE(blades.set_draining(1, DrainOptions{}));
    expect_lives(link::INTAKE_DRAINING, "draining");
    report(1, false, false);
    expect_lives(link::INTAKE_NONE, "its server stops");
    blades.disconnected(1);
    expect_lives(link::INTAKE_NONE, "its agent is away");
    blades.silent(1, true);
    expect_lives(link::INTAKE_NONE, "a moment without an answer");
    EXPECT_TRUE(blades.gone(1, true));
    EXPECT_FALSE(blades.gone(1, true));
    EXPECT_TRUE(published().gone());
    EXPECT_TRUE(blades.gone(1, false));
    expect_lives(link::INTAKE_NONE, "its kernel answers again");
}

TEST_F(BladesTest, AnAgentThatHasNotBeenHeardOfSinceTheStart) {
    const link::Snapshot snapshot = make_snapshot(config, *Secrets::create(), blades, economics);
    EXPECT_EQ(snapshot.blades(0).intake(), link::INTAKE_NONE);
    EXPECT_FALSE(snapshot.blades(0).gone());
}

class LeftBladesTest : public BladesTest {
  protected:
    LeftBladesTest() {
        without_two.blades.erase(2);
        for (ServiceConfig& service : without_two.services) service.blades = {1};
    }
    Config without_two = config;
};

TEST_F(LeftBladesTest, KnownForTheirFlows) {
    report(1, true, true);
    report(2, true, true);
    blades.configure(without_two, kNow);
    EXPECT_EQ(blades.find(2), nullptr);
    const link::Snapshot snapshot = make_snapshot(without_two, *Secrets::create(), blades, economics);
    ASSERT_EQ(snapshot.blades_size(), 2);
    EXPECT_EQ(snapshot.blades(1).id(), 2u);
    EXPECT_EQ(snapshot.blades(1).address(), (std::string{10, 77, 0, 12}));
    EXPECT_EQ(snapshot.blades(1).intake(), link::INTAKE_NONE);
    EXPECT_FALSE(snapshot.blades(1).gone());
    EXPECT_THAT(snapshot.services(0).blade_ids(), ElementsAre(1));
    EXPECT_TRUE(blades.gone(2, true));
    EXPECT_TRUE(make_snapshot(without_two, *Secrets::create(), blades, economics).blades(1).gone());
    EXPECT_FALSE(blades.forget_left(kNow + Blades::kLeftMs - 1));
    EXPECT_TRUE(blades.forget_left(kNow + Blades::kLeftMs));
    EXPECT_TRUE(blades.left().empty());
}

TEST_F(LeftBladesTest, OverARestartToo) {
    report(2, true, true);
    Blades restarted(dir / "blades.json");
    ASSERT_TRUE(restarted.load());
    restarted.configure(without_two, kNow);  // the file was changed meanwhile
    ASSERT_EQ(restarted.left().size(), 1u);
    Blades again(dir / "blades.json");
    ASSERT_TRUE(again.load());
    again.configure(without_two, kNow + 1000);
    ASSERT_EQ(again.left().size(), 1u);
    EXPECT_EQ(again.left().at(2).until_ms, kNow + Blades::kLeftMs);
    EXPECT_EQ(again.left().at(2).agent, config.blades.at(2).agent);
}

TEST_F(LeftBladesTest, ComesBackOrWasRevokedOrNeverTookAnybody) {
    blades.configure(without_two, kNow);
    EXPECT_TRUE(blades.left().empty()) << "nobody was ever there";
    blades.configure(config, kNow);
    report(2, true, true);
    blades.configure(without_two, kNow);
    EXPECT_EQ(blades.left().size(), 1u);
    blades.configure(config, kNow);
    EXPECT_TRUE(blades.left().empty());
    report(2, true, true);
    without_two.revoked = {2};
    blades.configure(without_two, kNow);
    EXPECT_TRUE(blades.left().empty()) << "it is not to have anybody's connection";
}

TEST_F(BladesTest, KeysOfABlade) {
    const auto secrets = Secrets::create();
    config.services[1].blades = {2};
    const chassis::Keys keys = make_keys(config, *secrets, 1);
    EXPECT_EQ(keys.blade_id(), 1u);
    ASSERT_EQ(keys.services_size(), 1);
    EXPECT_EQ(keys.services(0).name(), "www");
    EXPECT_TRUE(keys.services(0).hold());
    EXPECT_EQ(keys.services(0).session_lifetime_s(), 7200u);
    EXPECT_EQ(keys.services(0).tickets(), chassis::ServiceOnBlade::EARLY_DATA_ONCE);
    EXPECT_FALSE(keys.services(0).early_data());
    ASSERT_EQ(keys.peers_size(), 1);
    EXPECT_EQ(keys.peers(0).address(), "10.77.0.12:7401");
    EXPECT_EQ(keys.cookie_keys(0).key().size(), 16u);
    EXPECT_EQ(keys.name_keys(0).key().size(), 16u);
}

TEST_F(BladesTest, ABladeThatIsConfiguredNoMore) {
    config.blades.erase(2);
    for (ServiceConfig& service : config.services) service.blades = {1};
    blades.configure(config, kNow);
    EXPECT_EQ(blades.find(2), nullptr);
    EXPECT_FALSE(report(2, true, true));
    blades.connected(2);
    blades.disconnected(2);
    EXPECT_FALSE(blades.silent(2, true));
}

}  // namespace
}  // namespace keyrail
