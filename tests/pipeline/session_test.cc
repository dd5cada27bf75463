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

/// Both shapes of a hello: true, two segments, as today's clients send it; false, one.
class Shape : public testing::TestWithParam<bool> {
  protected:
    [[nodiscard]] static std::vector<uint8_t> bytes(uint16_t blade) {
        return GetParam() ? hello_of(blade) : one_segment_hello_of(blade);
    }
    [[nodiscard]] static std::vector<Frame> hello(const Client& client, uint16_t blade) {
        return client.hello(bytes(blade));
    }
    [[nodiscard]] static size_t segments() { return GetParam() ? 2 : 1; }
};

class Session : public Shape {
  protected:
    Harness harness;
};

TEST_P(Session, MovedTableBeatsHome) {
    harness.moved().set(Harness::name(1), 3, 1'800'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3));
    EXPECT_EQ(harness.count(Reason::steer_moved), 1u);
}

TEST_P(Session, ExpiredMoveDoesNotCount) {
    harness.moved().set(Harness::name(1), 3, 1'600'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
}

TEST_P(Session, ForeignNamesGoByMaglevAndStay) {
    SessionName foreign;
    foreign.fill(0xee);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, client.hello(client_hello({.name = foreign, .post_quantum = GetParam()})));
    EXPECT_EQ(harness.count(Reason::steer_foreign), 1u);
    harness.burst(kFront, {client.data({1}, 5000)});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), segments() + 1);
    for (const Frame& frame : out) EXPECT_EQ(destination(frame), destination(out[0]));
}

/// As the hooks make them in TLS 1.2: the name, and what only a server can read.
std::vector<uint8_t> ticket_of(const SessionName& name) {
    std::vector<uint8_t> ticket(name.begin(), name.end());
    ticket.resize(240, 0x5a);
    return ticket;
}

TEST_P(Session, Tls12TicketsLeadHome) {
    uint16_t port = 42000;
    for (uint16_t blade = 1; blade <= 3; blade++) {
        Client client(harness, port++);
        client.syn();
        harness.burst(kFront, {client.data(client_hello({.max_version = TlsVersion::tls12,
                                                         .ticket = ticket_of(Harness::name(blade))}))});
        EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade));
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 3u);
    harness.moved().set(Harness::name(1), 3, 1'800'000'000, 0);
    Client client(harness, port++);
    client.syn();
    harness.burst(kFront, {client.data(client_hello(
                              {.max_version = TlsVersion::tls12, .ticket = ticket_of(Harness::name(1))}))});
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

TEST_P(Session, ForgedNamesAreForeign) {
    uint16_t port = 42000;
    std::map<MacAddress, int> blades;
    for (const SessionName& name : forged()) {
        harness.moved().set(name, 3, 1'800'000'000, 0);  // not even asked
        Client client(harness, port++);
        client.syn();
        harness.burst(kFront, client.hello(client_hello({.name = name, .post_quantum = GetParam()})));
        blades[destination(harness.wire(kBack).at(0))]++;
    }
    EXPECT_EQ(harness.count(Reason::steer_foreign), forged().size());
    EXPECT_EQ(blades.size(), 3u) << "anywhere, by Maglev";
    EXPECT_EQ(harness.context().stats.names_forged.get(), 24u + 50u) << "whose block is right";
}

class Draining : public Shape {
  protected:
    Harness harness{Scene{.up = {2, 3}, .draining = {1}}};
};

TEST_P(Draining, SessionMovesWhileTheHelloIsHeld) {
    Client client(harness, 43000);
    client.syn();
    std::vector<Frame> sent = hello(client, 1);
    sent.push_back(client.data({7, 7}, 4000));
    harness.burst(kFront, sent);
    harness.burst(kFront, {client.segment().frame()});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].from, 1);
    EXPECT_EQ(asks[0].name, Harness::name(1));
    EXPECT_EQ(asks[0].tls_version, TlsVersion::tls13);
    EXPECT_EQ(harness.held(), sent.size());
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
    harness.answer(asks[0], true);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), sent.size());
    for (size_t i = 0; i < out.size(); i++) EXPECT_EQ(behind_macs(out[i]), behind_macs(sent[i]));
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(asks[0].to));
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    harness.expect_conserved();

    Client next(harness, 43001);
    next.syn();
    harness.burst(kFront, hello(next, 1));
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(asks[0].to))
        << "known as moved from now on";
    EXPECT_TRUE(harness.asks().empty());
}

TEST_P(Draining, OneClientsConnectionsGetOneTarget) {
    std::vector<MoveAsk> asks;
    for (uint16_t i = 0; i < 6; i++) {
        Client client(harness, static_cast<uint16_t>(43000 + i));
        client.syn();
        harness.burst(kFront, hello(client, 1));
        for (const MoveAsk& a : harness.asks()) asks.push_back(a);
    }
    ASSERT_EQ(asks.size(), 6u);
    for (const MoveAsk& a : asks) EXPECT_EQ(a.to, asks[0].to);
}

TEST_P(Draining, SessionsOfTls12TicketsMove) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, {client.data(client_hello(
                              {.max_version = TlsVersion::tls12, .ticket = ticket_of(Harness::name(1))}))});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].name, Harness::name(1));
    EXPECT_EQ(asks[0].tls_version, TlsVersion::tls12);
    harness.answer(asks[0], true);
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(asks[0].to));
}

TEST_P(Draining, ForgedNamesAskNoMove) {
    uint16_t port = 43000;
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13})
        for (const SessionName& name : forged()) {
            Client client(harness, port++);
            client.syn();
            const auto frames = client.hello(
                client_hello({.max_version = version, .name = name, .post_quantum = GetParam()}));
            harness.burst(kFront, frames);
            EXPECT_EQ(harness.wire(kBack).size(), frames.size()) << "not held";
        }
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(harness.context().stats.moves_asked.get(), 0u);
    EXPECT_EQ(harness.context().stats.names_forged.get(), 2 * (24u + 50u));
    EXPECT_EQ(harness.count(Reason::steer_foreign), 2 * forged().size());
    harness.expect_conserved();
}

TEST_P(Draining, BudgetSpent) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    const auto asks = harness.asks();
    harness.advance(19'000);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.advance(2'000);
    EXPECT_EQ(harness.wire(kBack).size(), segments());
    EXPECT_EQ(harness.count(Reason::steer_move_late), 1u);
    harness.answer(asks.at(0), true);  // too late: must not touch the slot's next user
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

TEST_P(Draining, MoveFailed) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    harness.answer(harness.asks().at(0), false);
    EXPECT_EQ(harness.wire(kBack).size(), segments());
    EXPECT_EQ(harness.count(Reason::steer_move_failed), 1u);
}

TEST_P(Draining, CopyOfAHeldHelloIsDroppedWhileItMoves) {
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    harness.burst(kFront, hello(client, 1));
    EXPECT_EQ(harness.count(Reason::drop_duplicate), segments());
    EXPECT_EQ(harness.held(), segments());
    harness.expect_conserved();
}

TEST_P(Draining, EstablishedFlowsStay) {
    harness.set_blades({});
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    harness.set_blades({.up = {2, 3}, .draining = {1}});
    harness.wire(kBack);
    harness.burst(kFront, {client.data({1}, 3000)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
}

class NoControl : public Shape {};

TEST_P(NoControl, NothingIsHeldForAMove) {
    Harness harness{Scene{.up = {2, 3}, .draining = {1}, .control_connected = false}};
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    EXPECT_EQ(harness.wire(kBack).size(), segments());
    EXPECT_EQ(harness.count(Reason::steer_no_control), 1u);
    EXPECT_TRUE(harness.asks().empty());
}

class DeadBlade : public Shape {};

TEST_P(DeadBlade, ItsClientsAreBoundAnew) {
    Harness harness;
    Client client(harness, 43000);
    client.syn();
    harness.burst(kFront, hello(client, 1));
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
    harness.set_blades({.up = {2, 3}, .down = {1}});
    harness.burst(
        kFront, hello(client, 1));  // the blade never answered: TCP sends it again, its cookie is still good
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

constexpr auto kNameOfShape = [](const auto& shape) { return shape.param ? "two_segments" : "one_segment"; };
INSTANTIATE_TEST_SUITE_P(Shapes, Session, testing::Bool(), kNameOfShape);
INSTANTIATE_TEST_SUITE_P(Shapes, Draining, testing::Bool(), kNameOfShape);
INSTANTIATE_TEST_SUITE_P(Shapes, NoControl, testing::Bool(), kNameOfShape);
INSTANTIATE_TEST_SUITE_P(Shapes, DeadBlade, testing::Bool(), kNameOfShape);

}  // namespace
}  // namespace keyrail
