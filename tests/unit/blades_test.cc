// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of what agents say: conditions of blades, the dataplane's snapshot, a blade's keys.
#include "control/daemon/blades/blades.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <functional>

#include "chassis.pb.h"
#include "control/daemon/blades/binding.h"
#include "control/daemon/core/snapshot.h"
#include "control/protocol/file.h"
#include "link.pb.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kNow = 1'700'000'000'000;

class BladesTest : public ::testing::Test {
  protected:
    BladesTest() {
        for (const uint16_t id : {uint16_t{1}, uint16_t{2}})
            config.blades[id] = {id, fmt::format("b{}", id), *parse_ip(fmt::format("10.77.0.{}", 10 + id)),
                                 *parse_host_port(fmt::format("10.77.0.{}:7401", 10 + id))};
        config.services.push_back(service("www", 443));
        config.services.push_back(service("mail", 993));
        blades.configure(config, kNow);
    }
    ~BladesTest() override { fs::remove_all(dir); }

    static ServiceConfig service(const char* name, uint16_t port) {
        ServiceConfig service;
        service.name = name;
        service.port = port;
        service.addresses = {*parse_ip("198.51.100.1")};
        service.blades = {1, 2};
        return service;
    }
    bool report(uint16_t id, bool www, bool mail, uint32_t load = 0) {
        chassis::Health health;
        health.set_load(load);
        for (const auto& [port, listening] : {std::pair{443u, www}, {993u, mail}}) {
            health.add_servers()->set_port(port);
            health.mutable_servers()->rbegin()->set_listening(listening);
        }
        return blades.health(id, health);
    }
    BladeIntake intake(uint16_t id) { return blades.find(id)->intake(); }

    static fs::path make_directory() {
        char name[] = "/tmp/keyrail-blades-XXXXXX";
        return mkdtemp(name);
    }

    fs::path dir = make_directory();
    Config config;
    Blades blades{dir / "blades.json"};
    Economics economics;
};

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
    EXPECT_EQ(blades.serving({1}, 443), 1u) << "the last resort";
    ASSERT_TRUE(blades.set_draining(1, DrainOptions{}));
    EXPECT_EQ(intake(1), BladeIntake::draining);
    report(2, true, true, kLoadMax);
    EXPECT_EQ(intake(2), BladeIntake::open) << "no limit given";
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

// --- servers that listen and do not serve

class IllServersTest : public BladesTest {
  protected:
    using Endpoint = chassis::ServerHealth::Endpoint;
    IllServersTest() {
        config.services[0].addresses = {*parse_ip("198.51.100.1"), *parse_ip("2001:db8:100::1")};
        config.services.pop_back();
        blades.configure(config, kNow);
        say(1);
        say(2);
    }
    /// All is well but what `spoil` does to the second address.
    bool say(uint16_t id, const std::function<void(Endpoint&)>& spoil = [](Endpoint&) {}) {
        chassis::Health health;
        auto& server = *health.add_servers();
        server.set_port(443);
        server.set_listening(true);
        for (const char* address : {"198.51.100.1", "2001:db8:100::1"}) {
            auto& endpoint = *server.add_endpoints();
            endpoint.set_address(address);
            endpoint.set_listening(true);
            endpoint.set_address_here(true);
            endpoint.set_hooks(chassis::ServerHealth::HOOKS_PRESENT);
        }
        spoil(*server.mutable_endpoints(1));
        return blades.health(id, health);
    }
    link::Snapshot published() { return make_snapshot(config, *Secrets::create(), blades, economics); }
};

TEST_F(IllServersTest, TakeNothingNewAndSayWhy) {
    const std::vector<std::pair<std::function<void(Endpoint&)>, const char*>> ills = {
        {[](Endpoint& e) { e.set_hangs(true); }, "the server at [2001:db8:100::1]:443 does not answer"},
        {[](Endpoint& e) { e.set_listening(false); }, "nobody listens at [2001:db8:100::1]:443"},
        {[](Endpoint& e) { e.set_address_here(false); }, "ip address add 2001:db8:100::1/128 dev lo"}};
    for (const auto& [spoil, why] : ills) {
        EXPECT_TRUE(say(1, spoil));
        EXPECT_EQ(intake(1), BladeIntake::none);
        EXPECT_THAT(blades.find(1)->why_none(), HasSubstr(why));
        EXPECT_FALSE(published().blades(0).gone()) << "its flows live";
        EXPECT_EQ(intake(2), BladeIntake::open);
        EXPECT_TRUE(say(1));
        EXPECT_EQ(intake(1), BladeIntake::open);
        EXPECT_TRUE(blades.find(1)->faults().empty());
    }
}

TEST_F(IllServersTest, AreBetterThanNobody) {
    const auto hang = [](Endpoint& e) { e.set_hangs(true); };
    say(1, hang);
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_TRUE(say(2, hang));
    for (const uint16_t id : {uint16_t{1}, uint16_t{2}}) EXPECT_EQ(intake(id), BladeIntake::open) << id;
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_EQ(blades.find(1)->faults().size(), 1u) << "and it is said";
    EXPECT_TRUE(say(2));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_EQ(intake(2), BladeIntake::open);
}

TEST_F(IllServersTest, OfOneServiceOnly) {
    config.services.push_back(service("mail", 443));
    config.services[1].addresses = {*parse_ip("198.51.100.9")};
    blades.configure(config, kNow);
    say(1, [](Endpoint& e) { e.set_hangs(true); });
    say(2);
    EXPECT_EQ(intake(1), BladeIntake::open) << "mail is well";
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(2));
    EXPECT_THAT(published().services(1).blade_ids(), ElementsAre(1, 2));
}

TEST_F(IllServersTest, ListeningByMptcpIsBoundEarly) {
    EXPECT_TRUE(choose_binding(config.services[0], blades).late);
    EXPECT_TRUE(say(1, [](Endpoint& e) { e.set_mptcp(true); })) << "the dataplane must be told";
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_FALSE(choose_binding(config.services[0], blades).late);
    EXPECT_THAT(choose_binding(config.services[0], blades).why,
                HasSubstr("b1 (its server listens by MPTCP)"));
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
    config.services[0].binding = Binding::late;
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(2));
}

TEST_F(IllServersTest, WithoutHooksAreNamed) {
    EXPECT_FALSE(blades.find(1)->without_hooks());
    say(1, [](Endpoint& e) { e.set_hooks(chassis::ServerHealth::HOOKS_ABSENT); });
    EXPECT_TRUE(blades.find(1)->without_hooks());
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_THAT(blades.find(1)->faults().at(0), HasSubstr("without the hook library"));
}

TEST_F(IllServersTest, WhatAnAgentSaysOfOtherAddressesDoesNotMatter) {
    say(1, [](Endpoint& e) { e.set_address("203.0.113.9"); });
    EXPECT_EQ(blades.find(1)->addresses.size(), 1u);
    say(1, [](Endpoint& e) { e.set_address("rubbish"); });
    EXPECT_EQ(blades.find(1)->addresses.size(), 1u);
    EXPECT_EQ(intake(1), BladeIntake::open);
}

// --- late or early

class BindingTest : public BladesTest {
  protected:
    BindingTest() {
        for (const uint16_t id : {uint16_t{1}, uint16_t{2}}) report(id, true, true);
    }
    bool hello(uint16_t id, bool accept_program) {
        chassis::AgentHello message;
        message.set_version("1");
        message.set_kernel("6.1.0");
        message.set_accept_program(accept_program);
        return blades.hello(id, message);
    }
    BindingChoice choice(Binding binding) {
        config.services[0].binding = binding;
        return choose_binding(config.services[0], blades);
    }
    link::Service published() {
        const Secrets secrets = std::move(*Secrets::create());
        return make_snapshot(config, secrets, blades, economics).services(0);
    }
};

TEST_F(BindingTest, LateWhereEveryBladeCan) {
    EXPECT_FALSE(hello(1, true));
    EXPECT_TRUE(choice(Binding::automatic).late);
    EXPECT_EQ(published().binding(), link::BIND_LATE) << "blade 2 has not been heard of";
    EXPECT_FALSE(hello(2, true));
    EXPECT_TRUE(choice(Binding::automatic).late);
}

TEST_F(BindingTest, EarlyWhereOneCannotAndItIsNamed) {
    hello(1, true);
    EXPECT_TRUE(hello(2, false)) << "the dataplane must be told";
    EXPECT_FALSE(hello(2, false));
    EXPECT_FALSE(choice(Binding::automatic).late);
    EXPECT_THAT(choice(Binding::automatic).why, HasSubstr("b2 (kernel 6.1.0)"));
    EXPECT_EQ(published().binding(), link::BIND_EARLY);
    EXPECT_THAT(published().blade_ids(), ElementsAre(1, 2));
    EXPECT_TRUE(hello(2, true)) << "it has it after all";
    EXPECT_TRUE(choice(Binding::automatic).late);
}

TEST_F(BindingTest, LateAndNothingElseLeavesOutThoseThatCannot) {
    hello(1, true);
    hello(2, false);
    EXPECT_TRUE(choice(Binding::late).late);
    EXPECT_THAT(choice(Binding::late).why, HasSubstr("left out"));
    EXPECT_THAT(published().blade_ids(), ElementsAre(1));
    hello(1, false);
    EXPECT_EQ(published().blade_ids_size(), 0) << "connections that no blade could take are refused";
}

TEST_F(BindingTest, RoutesNeedTheHello) {
    config.services[0].routes = {{"img.example.com", "", "web", {1, 2}}};
    hello(1, true);
    hello(2, false);
    EXPECT_TRUE(choice(Binding::automatic).late);
    EXPECT_THAT(choice(Binding::automatic).why, HasSubstr("routes need the ClientHello; left out"));
    EXPECT_THAT(published().routes(0).blade_ids(), ElementsAre(1));
}

TEST_F(BindingTest, EarlyIsEarly) {
    hello(1, true);
    hello(2, true);
    EXPECT_FALSE(choice(Binding::early).late);
    EXPECT_EQ(published().binding(), link::BIND_EARLY);
}

}  // namespace
}  // namespace keyrail
