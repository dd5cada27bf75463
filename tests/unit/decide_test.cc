// SPDX-License-Identifier: Apache-2.0
// The decision about a ClientHello, as a table: what is known of it and of the blades in, blade and reason
// out.
#include "dataplane/steer/decide.h"

#include <gtest/gtest.h>

#include "link.pb.h"

namespace keyrail {
namespace {

using steer::decide;

struct Blades {
    link::Intake one = link::INTAKE_OPEN, two = link::INTAKE_OPEN;
    bool one_gone = false;
};

/// Blades 1 and 2 are the service's; blade 3 is up, and of another pool.
link::Snapshot message(const Blades& blades) {
    link::Snapshot m;
    auto* cookie = m.add_cookie_keys();
    cookie->set_key(std::string(16, 'c'));
    cookie->set_current(true);
    const auto add = [&](uint32_t id, link::Intake intake, bool gone = false) {
        auto* blade = m.add_blades();
        blade->set_id(id);
        blade->set_address(std::string({10, 77, 0, static_cast<char>(id)}));
        blade->set_intake(intake);
        blade->set_gone(gone);
    };
    add(1, blades.one, blades.one_gone);
    add(2, blades.two);
    add(3, link::INTAKE_OPEN);
    auto* service = m.add_services();
    service->set_name("www");
    service->set_port(443);
    service->add_addresses(std::string({10, 0, 0, 1}));
    service->add_blade_ids(1);
    service->add_blade_ids(2);
    service->set_hold_budget_us(20'000);
    service->set_hold_budget_tls13_us(20'000);
    service->set_content_moves(true);
    return m;
}

class Decide : public ::testing::Test {
  protected:
    HelloFacts hello{
        .hash = 12345, .tls_version = TlsVersion::tls13, .unnamed = Reason::steer_foreign, .name_count = 1};
    link::Snapshot described = message({});
    bool control_up = true;

    Decide() { hello.names[0].fill(7); }
    Decision for_holder(BladeId blade, bool moved = false) {
        const auto snapshot = Snapshot::build(described);
        EXPECT_TRUE(snapshot);
        return decide(hello, **snapshot, {.blade = blade, .moved = moved}, control_up);
    }
    void blades(const Blades& states) {
        const auto services = described.services();
        described = message(states);
        *described.mutable_services() = services;
    }
    link::Service& service() { return *described.mutable_services(0); }
    static void expect(const Decision& got, std::vector<BladeId> blades, Reason reason, bool move = false) {
        EXPECT_NE(std::ranges::find(blades, got.blade), blades.end()) << got.blade;
        EXPECT_EQ(got.reason, reason) << kReasonTexts[static_cast<size_t>(got.reason)].name;
        EXPECT_EQ(got.move, move);
    }
};

TEST_F(Decide, ToTheHolder) {
    expect(for_holder(1), {1}, Reason::steer_home);
    expect(for_holder(2, true), {2}, Reason::steer_moved);
}

TEST_F(Decide, WithoutASession) { expect(for_holder(0), {1, 2}, Reason::steer_foreign); }

TEST_F(Decide, WithATicketThatABladeCanOpen) {
    hello.opener = 2;
    expect(for_holder(0), {2}, Reason::steer_ticket);
    blades({.two = link::INTAKE_NONE});
    expect(for_holder(0), {1}, Reason::steer_foreign);
}

TEST_F(Decide, TheHolderTakesNothingNew) {
    blades({.one = link::INTAKE_DRAINING});
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);
}

TEST_F(Decide, NobodyCouldMoveIt) {
    blades({.one = link::INTAKE_DRAINING});
    control_up = false;
    expect(for_holder(1), {2}, Reason::steer_no_control);
}

TEST_F(Decide, AMoveIsNotWorthIt) {
    blades({.one = link::INTAKE_DRAINING});
    service().set_hold_budget_tls13_us(0);
    expect(for_holder(1), {2}, Reason::steer_not_worth);
    hello.tls_version = TlsVersion::tls12;
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);
}

TEST_F(Decide, AFullBladeKeepsASessionThatCannotLeave) {
    blades({.one = link::INTAKE_OVERLOADED});
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);
    control_up = false;
    expect(for_holder(1), {1}, Reason::steer_home);
}

TEST_F(Decide, TheContentIsElsewhere) {
    expect(for_holder(3), {1, 2}, Reason::steer_hold_full, true);
    service().set_content_moves(false);
    expect(for_holder(3), {1, 2}, Reason::steer_content);
}

TEST_F(Decide, TheHoldersServerHasStopped) {
    blades({.one = link::INTAKE_NONE});
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);  // its agent has the session still
}

TEST_F(Decide, TheHolderIsGone) {
    blades({.one = link::INTAKE_OPEN, .one_gone = true});
    expect(for_holder(1), {2}, Reason::steer_holder_down);
    service().set_repository(true);
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);
}

TEST_F(Decide, TheHolderIsNotConfiguredAnyMore) { expect(for_holder(77), {1, 2}, Reason::steer_holder_down); }

TEST_F(Decide, AConnectionThatABladeHasStaysThere) {
    hello.bound = 2;
    expect(for_holder(1), {2}, Reason::steer_hold_full, true);
    expect(for_holder(2), {2}, Reason::steer_home);
}

TEST_F(Decide, NoBladeIsUp) {
    blades({.one = link::INTAKE_NONE, .two = link::INTAKE_NONE});
    expect(for_holder(1), {0}, Reason::drop_no_blade);
}

TEST(HomeOf, TheFirstNameOfOurs) {
    HelloFacts hello{.name_count = 3};
    hello.homes = {0, 5, 6, 0};
    EXPECT_EQ(steer::home_of(hello).blade, 5);
    EXPECT_EQ(steer::home_of(hello).name, 1);
    hello.homes.fill(0);
    EXPECT_EQ(steer::home_of(hello).blade, 0);
}

// --- what a client's wait is weighed by

class Weigh : public Decide {
  protected:
    Weigh() {
        service().set_saving_us(800);
        service().set_saving_tls13_us(500);
        service().set_hold_budget_us(800);
        service().set_hold_budget_tls13_us(500);
        hello.tls_version = TlsVersion::tls12;
    }
    Wait weighed(uint32_t round_trip = 0, uint32_t expected = 0) {
        const auto snapshot = Snapshot::build(described);
        Wait wait{.expected = expected, .round_trip = round_trip};
        steer::weigh(wait, hello, (*snapshot)->services[0]);
        return wait;
    }
};

TEST_F(Weigh, ServersAndInTls12ARoundTrip) {
    EXPECT_EQ(weighed().saving, 800u);
    EXPECT_EQ(weighed(30'000).saving, 30'800u);
    EXPECT_EQ(weighed(30'000).budget, 30'800u) << "it may wait for as long as that saves";
    hello.tls_version = TlsVersion::tls13;
    EXPECT_EQ(weighed(30'000).saving, 500u);
    hello.early_data = true;
    EXPECT_EQ(weighed(30'000).saving, 500u) << "nobody takes it";
    service().set_early_data(true);
    EXPECT_EQ(weighed(30'000).saving, 30'500u);
}

TEST_F(Weigh, TooLongIsLongerThanTheBudget) {
    EXPECT_FALSE(steer::too_long(weighed(0, 0))) << "nothing is known: it is tried";
    EXPECT_FALSE(steer::too_long(weighed(0, 800)));
    EXPECT_TRUE(steer::too_long(weighed(0, 801)));
    EXPECT_FALSE(steer::too_long(weighed(4000, 801))) << "this client is far away";
}

TEST_F(Weigh, TheOperatorsWordStands) {
    service().set_hold_budget_us(200'000);
    service().set_hold_fixed(true);
    const Wait wait = weighed(30'000, 1'000'000);
    EXPECT_FALSE(steer::too_long(wait));
    EXPECT_EQ(wait.budget, 200'000u);
    EXPECT_EQ(wait.saving, 30'800u) << "measured all the same";
}

TEST_F(Weigh, WithoutAMoveWhoIsFullKeepsItsClient) {
    const auto instead = [&] {
        const auto snapshot = Snapshot::build(described);
        return steer::without_move({.blade = 2, .move = true}, hello, **snapshot, {.blade = 1});
    };
    blades({.one = link::INTAKE_DRAINING});
    expect(instead(), {2}, Reason::steer_long_wait);
    blades({.one = link::INTAKE_OVERLOADED});
    expect(instead(), {1}, Reason::steer_long_wait);
    hello.bound = 2;
    expect(instead(), {2}, Reason::steer_long_wait);
}

}  // namespace
}  // namespace keyrail
