// SPDX-License-Identifier: Apache-2.0
// Where a client goes whose session is here, elsewhere, on the move, or lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "dataplane/tables/moved_table.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

class Session : public testing::Test {
  protected:
    Harness harness;
};

TEST_F(Session, MovedTableBeatsHome) {
    harness.moved().set(Harness::name(1), 3, 1'800'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3));
    EXPECT_EQ(harness.count(Reason::steer_moved), 1u);
}

TEST_F(Session, ExpiredMoveDoesNotCount) {
    harness.moved().set(Harness::name(1), 3, 1'600'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
}

TEST_F(Session, ForeignNamesGoByMaglevAndStay) {
    SessionName foreign;
    foreign.fill(0xee);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, {client.data(client_hello({.name = foreign}))});
    EXPECT_EQ(harness.count(Reason::steer_foreign), 1u);
    harness.burst(kFront, {client.data({1}, 5000)});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(destination(out[0]), destination(out[1]));
}

/// As the hooks make them in TLS 1.2: the name, and what only a server can read.
std::vector<uint8_t> ticket_of(const SessionName& name) {
    std::vector<uint8_t> ticket(name.begin(), name.end());
    ticket.resize(240, 0x5a);
    return ticket;
}

TEST_F(Session, Tls12TicketsLeadHome) {
    uint16_t port = 42000;
    for (uint16_t blade = 1; blade <= 3; blade++) {
        Client client(harness, port++);
        client.syn();
        harness.burst(
            kFront,
            {client.data(client_hello({.max_version = 0x0303, .ticket = ticket_of(Harness::name(blade))}))});
        EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade));
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 3u);
    harness.moved().set(Harness::name(1), 3, 1'800'000'000, 0);
    Client client(harness, port++);
    client.syn();
    harness.burst(
        kFront, {client.data(client_hello({.max_version = 0x0303, .ticket = ticket_of(Harness::name(1))}))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3)) << "moved";
}

/// Who has seen a name makes others of it: a bit of each changed, or all that follows the block.
std::vector<SessionName> forged() {
    std::vector<SessionName> names;
    for (size_t bit = 8; bit < 8 * kSessionNameSize; bit += 5) {
        names.push_back(Harness::name(1));
        names.back()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    }
    for (uint8_t i = 0; i < 50; i++) {
        names.push_back(Harness::name(1));
        std::fill(names.back().begin() + kNameTagOffset, names.back().end(), i);
    }
    return names;
}

TEST_F(Session, ForgedNamesAreForeign) {
    uint16_t port = 42000;
    std::map<MacAddress, int> blades;
    for (const SessionName& name : forged()) {
        harness.moved().set(name, 3, 1'800'000'000, 0);  // not even asked
        Client client(harness, port++);
        client.syn();
        harness.burst(kFront, {client.data(client_hello({.name = name}))});
        blades[destination(harness.wire(kBack).at(0))]++;
    }
    EXPECT_EQ(harness.count(Reason::steer_foreign), forged().size());
    EXPECT_EQ(blades.size(), 3u) << "anywhere, by Maglev";
    EXPECT_EQ(harness.context().stats.names_forged.get(), 24u + 50u) << "whose block is right";
}

class Draining : public testing::Test {
  protected:
    Harness harness{Scene{.up = {2, 3}, .draining = {1}}};
};

TEST_F(Draining, SessionMovesWhileTheHelloIsHeld) {
    Client client(harness, 43000);
    client.syn();
    const Frame hello = client.data(hello_of(1));
    const Frame more = client.data({7, 7}, 4000);
    harness.burst(kFront, {hello, more});
    harness.burst(kFront, {client.segment().frame()});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].from, 1);
    EXPECT_EQ(asks[0].name, Harness::name(1));
    EXPECT_EQ(asks[0].tls_version, 0x0304);
    EXPECT_EQ(harness.held(), 2u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
    harness.answer(asks[0], true);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(behind_macs(out[0]), behind_macs(hello));
    EXPECT_EQ(behind_macs(out[1]), behind_macs(more));
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(asks[0].to));
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    harness.expect_conserved();

    Client next(harness, 43001);
    next.syn();
    harness.burst(kFront, {next.data(hello_of(1))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(asks[0].to))
        << "known as moved from now on";
    EXPECT_TRUE(harness.asks().empty());
}

TEST_F(Draining, OneClientsConnectionsGetOneTarget) {
    std::vector<MoveAsk> asks;
    for (uint16_t i = 0; i < 6; i++) {
        Client client(harness, static_cast<uint16_t>(43000 + i));
        client.syn();
        harness.burst(kFront, {client.data(hello_of(1))});
        for (const MoveAsk& a : harness.asks()) asks.push_back(a);
    }
    ASSERT_EQ(asks.size(), 6u);
    for (const MoveAsk& a : asks) EXPECT_EQ(a.to, asks[0].to);
}

TEST_F(Draining, SessionsOfTls12TicketsMove) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(
        kFront, {client.data(client_hello({.max_version = 0x0303, .ticket = ticket_of(Harness::name(1))}))});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].name, Harness::name(1));
    EXPECT_EQ(asks[0].tls_version, 0x0303);
    harness.answer(asks[0], true);
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(asks[0].to));
}

TEST_F(Draining, ForgedNamesAskNoMove) {
    uint16_t port = 43000;
    for (const int version : {0x0303, 0x0304})
        for (const SessionName& name : forged()) {
            Client client(harness, port++);
            client.syn();
            harness.burst(kFront, {client.data(client_hello({.max_version = version, .name = name}))});
            EXPECT_EQ(harness.wire(kBack).size(), 1u) << "not held";
        }
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(harness.context().stats.moves_asked.get(), 0u);
    EXPECT_EQ(harness.context().stats.names_forged.get(), 2 * (24u + 50u));
    EXPECT_EQ(harness.count(Reason::steer_foreign), 2 * forged().size());
    harness.expect_conserved();
}

TEST_F(Draining, BudgetSpent) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    const auto asks = harness.asks();
    harness.advance(19'000);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.advance(2'000);
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_move_late), 1u);
    harness.answer(asks.at(0), true);  // too late: must not touch whoever has the slot now
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

TEST_F(Draining, MoveFailed) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    harness.answer(harness.asks().at(0), false);
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_move_failed), 1u);
}

TEST_F(Draining, CopyOfAHeldHelloIsDroppedWhileItMoves) {
    Client client(harness, 43000);
    client.syn();
    const Frame hello = client.data(hello_of(1));
    harness.burst(kFront, {hello});
    harness.burst(kFront, {hello});
    EXPECT_EQ(harness.count(Reason::drop_duplicate), 1u);
    EXPECT_EQ(harness.held(), 1u);
    harness.expect_conserved();
}

TEST_F(Draining, EstablishedFlowsStay) {
    harness.set_blades({});
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    harness.set_blades({.up = {2, 3}, .draining = {1}});
    harness.wire(kBack);
    harness.burst(kFront, {client.data({1}, 3000)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
}

TEST(NoControl, NothingIsHeldForAMove) {
    Harness harness{Scene{.up = {2, 3}, .draining = {1}, .control_connected = false}};
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_no_control), 1u);
    EXPECT_TRUE(harness.asks().empty());
}

TEST(DeadBlade, ItsClientsAreBoundAnew) {
    Harness harness;
    Client client(harness, 43000);
    client.syn();
    const Frame hello = client.data(hello_of(1));
    harness.burst(kFront, {hello});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
    harness.set_blades({.up = {2, 3}, .down = {1}});
    harness.burst(kFront, {hello});  // the blade never answered: TCP sends it again, its cookie is still good
    EXPECT_NE(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
    EXPECT_EQ(harness.count(Reason::steer_holder_down), 1u);
}

TEST(NoBlade, NothingIsPromised) {
    Harness harness{Scene{.up = {}, .down = {1, 2}}};
    harness.burst(kFront, {TcpSegment{.flags = kSyn}.frame(), TcpSegment{.ack = 5}.frame()});
    EXPECT_EQ(harness.count(Reason::refused_reset), 1u);
    EXPECT_EQ(parse_headers(harness.wire(kFront).at(0)).flags, kRst | kAck);
    EXPECT_EQ(harness.count(Reason::drop_no_blade), 1u) << "one of them may still have that connection";
}

}  // namespace
}  // namespace keyrail
