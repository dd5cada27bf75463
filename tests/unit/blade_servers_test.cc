// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of what agents say of servers: who takes clients, and whether they are bound late or
// early.
#include <gmock/gmock.h>

#include <functional>

#include "control/daemon/blades/binding.h"
#include "tests/support/blades_bench.h"

namespace keyrail {
namespace {

using test::BladesTest;
using test::kNow;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
    bool say(BladeId id, const std::function<void(Endpoint&)>& spoil = [](Endpoint&) {}) {
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
    for (const BladeId id : {BladeId{1}, BladeId{2}}) EXPECT_EQ(intake(id), BladeIntake::open) << id;
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_EQ(blades.find(1)->faults().size(), 1u) << "and it is said";
    EXPECT_TRUE(say(2));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_EQ(intake(2), BladeIntake::open);
}

/// That another service is well served elsewhere helps nobody here.
TEST_F(IllServersTest, AreBetterThanNobodyWhereTheirServiceIsNowhereElse) {
    ServiceConfig& mail = config.services.emplace_back(service("mail", 443));
    mail.addresses = {*parse_ip("198.51.100.9")};
    mail.blades = {2};
    config.services[0].blades = {1};
    blades.configure(config, kNow);
    say(1);
    say(2);
    say(1, [](Endpoint& e) { e.set_hangs(true); });
    EXPECT_EQ(intake(1), BladeIntake::open) << "mail of blade 2 is well";
    EXPECT_EQ(intake(2), BladeIntake::open);
    config.services[0].blades = {1, 2};
    blades.configure(config, kNow);
    say(2);
    EXPECT_EQ(intake(1), BladeIntake::none) << "blade 2 serves it, too";
    EXPECT_TRUE(blades.silent(2, true));
    EXPECT_EQ(intake(1), BladeIntake::open);
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
    config.services.push_back(service("mail", 443));
    config.services[1].addresses = {*parse_ip("198.51.100.9")};
    blades.configure(config, kNow);
    const auto without = [](Endpoint& e) { e.set_hooks(chassis::ServerHealth::HOOKS_ABSENT); };
    say(1);
    EXPECT_FALSE(blades.find(1)->without_hooks("www"));
    EXPECT_FALSE(blades.find(1)->without_hooks(""));
    say(1, without);
    EXPECT_TRUE(blades.find(1)->without_hooks("www"));
    EXPECT_FALSE(blades.find(1)->without_hooks("mail")) << "another server";
    EXPECT_FALSE(blades.find(1)->without_hooks("")) << "it may be one of mail";
    EXPECT_FALSE(blades.find(2)->without_hooks("www"));
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_THAT(blades.find(1)->faults().at(0), HasSubstr("without the hook library"));
}

TEST_F(IllServersTest, ReasonsOfAnAgentAreBounded) {
    chassis::Health health;
    const auto add = [&](const std::string& reason) {
        health.add_accept()->set_reason(reason);
        health.mutable_accept()->rbegin()->set_count(3);
    };
    add(std::string(65, 'r'));
    for (int i = 0; i < 100; i++) add(fmt::format("reason{}", i));
    blades.health(1, health);
    EXPECT_EQ(blades.find(1)->accepted.size(), 32u);
    EXPECT_EQ(blades.find(1)->accepted.at("reason0"), 3u);
    EXPECT_FALSE(blades.find(1)->accepted.contains(std::string(65, 'r')));
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
        for (const BladeId id : {BladeId{1}, BladeId{2}}) report(id, true, true);
    }
    bool hello(BladeId id, bool accept_program) {
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
    EXPECT_THAT(published().blade_ids(), ElementsAre(1, 2)) << "a doubtful blade is better than none";
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
