// SPDX-License-Identifier: Apache-2.0
// The packet path as a whole: what goes in, what comes out where, and which counter says why.
#include <gtest/gtest.h>

#include "dataplane/steer/moved_table.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

MacAddress destination(const Frame& frame) {
    MacAddress mac;
    std::copy_n(frame.begin(), 6, mac.begin());
    return mac;
}

/// Everything behind the Ethernet addresses: what must never change.
Frame behind_macs(const Frame& frame) { return {frame.begin() + 12, frame.end()}; }

std::vector<uint8_t> cut(const std::vector<uint8_t>& bytes, size_t from, size_t to) {
    return {bytes.begin() + static_cast<ptrdiff_t>(from),
            bytes.begin() + static_cast<ptrdiff_t>(std::min(to, bytes.size()))};
}

std::vector<uint8_t> hello_of(uint16_t blade, int version = 0x0304) {
    return client_hello({.max_version = version, .name = Harness::name(blade)});
}

// --- one packet in, one verdict out

struct Row {
    const char* name;
    uint8_t port;
    Frame (*frame)();
    Reason reason;
    enum { kNowhere, kFrontWire, kBackWire, kFrontKernel, kBackKernel } out;
};

Frame udp_to_vip() {
    Frame f = TcpSegment{}.frame();
    f[23] = 17;
    return f;
}
Frame arp() {
    Frame f = TcpSegment{}.frame();
    store16(&f[12], 0x0806);
    return f;
}
Frame fragment() {
    Frame f = TcpSegment{}.frame();
    f[20] = 0x20;
    return f;
}
Frame cut_short() {
    Frame f = TcpSegment{}.frame();
    f.resize(40);
    return f;
}
Frame from_blade(const char* client) {
    return TcpSegment{.source = kVip4, .destination = client, .source_port = 443, .destination_port = 40000}
        .frame();
}

const Row kRows[] = {
    {"arp_goes_to_the_kernel", kFront, arp, Reason::punt_not_service, Row::kFrontKernel},
    {"udp_to_the_vip_goes_to_the_kernel", kFront, udp_to_vip, Reason::punt_not_service, Row::kFrontKernel},
    {"other_port_goes_to_the_kernel", kFront, [] { return TcpSegment{.destination_port = 80}.frame(); },
     Reason::punt_not_service, Row::kFrontKernel},
    {"other_address_goes_to_the_kernel", kFront,
     [] { return TcpSegment{.destination = "192.0.2.1"}.frame(); }, Reason::punt_not_service,
     Row::kFrontKernel},
    {"fragment_to_the_vip", kFront, fragment, Reason::drop_fragment, Row::kNowhere},
    {"truncated", kFront, cut_short, Reason::drop_truncated, Row::kNowhere},
    {"syn_is_answered", kFront, [] { return TcpSegment{.flags = kSyn}.frame(); }, Reason::syn_cookie,
     Row::kFrontWire},
    {"syn_over_ipv6_is_answered", kFront,
     [] { return TcpSegment{.source = "2001:db8:1::10", .destination = kVip6, .flags = kSyn}.frame(); },
     Reason::syn_cookie, Row::kFrontWire},
    {"unknown_ack_goes_to_a_blade", kFront, [] { return TcpSegment{.ack = 77}.frame(); },
     Reason::steer_midstream, Row::kBackWire},
    {"unknown_data_goes_to_a_blade", kFront,
     [] {
         return TcpSegment{.ack = 77, .payload = {1, 2}}.frame();
     },
     Reason::steer_midstream, Row::kBackWire},
    {"unknown_rst_goes_to_a_blade", kFront, [] { return TcpSegment{.flags = kRst}.frame(); },
     Reason::steer_midstream, Row::kBackWire},
    {"from_a_blade_to_its_client", kBack, [] { return from_blade("192.0.2.10"); }, Reason::returned,
     Row::kFrontWire},
    {"to_a_client_whose_hop_is_unknown", kBack, [] { return from_blade("192.0.2.99"); },
     Reason::punt_unresolved, Row::kBackKernel},
    {"the_blade_itself_talks_to_the_kernel", kBack,
     [] { return TcpSegment{.source = "10.77.0.11", .destination = "10.77.0.1"}.frame(); },
     Reason::punt_not_service, Row::kBackKernel},
    {"arp_of_a_blade", kBack, arp, Reason::punt_not_service, Row::kBackKernel},
};

class OnePacket : public testing::TestWithParam<Row> {};

TEST_P(OnePacket, GetsItsVerdict) {
    const Row& row = GetParam();
    Harness harness;
    harness.burst(row.port, {row.frame()});
    EXPECT_EQ(harness.count(row.reason), 1u);
    EXPECT_EQ(harness.wire(kFront).size(), row.out == Row::kFrontWire ? 1u : 0u);
    EXPECT_EQ(harness.wire(kBack).size(), row.out == Row::kBackWire ? 1u : 0u);
    EXPECT_EQ(harness.kernel(kFront).size(), row.out == Row::kFrontKernel ? 1u : 0u);
    EXPECT_EQ(harness.kernel(kBack).size(), row.out == Row::kBackKernel ? 1u : 0u);
    harness.expect_conserved();
}

INSTANTIATE_TEST_SUITE_P(Table, OnePacket, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

// --- a connection

class Pipeline : public testing::Test {
  protected:
    Harness harness;
};

TEST_F(Pipeline, HelloGoesHomeWithNothingButMacsChanged) {
    for (const bool ipv6 : {false, true}) {
        for (uint16_t blade = 1; blade <= 3; blade++) {
            Client client(harness, static_cast<uint16_t>(40000 + blade), ipv6);
            client.syn();
            harness.burst(kFront, {client.segment().frame()});  // the handshake's ACK
            EXPECT_TRUE(harness.wire(kBack).empty());
            const Frame hello = client.data(hello_of(blade, blade == 2 ? 0x0303 : 0x0304));
            harness.burst(kFront, {hello});
            const auto out = harness.wire(kBack);
            ASSERT_EQ(out.size(), 1u);
            EXPECT_EQ(destination(out[0]), Harness::blade_mac(blade));
            EXPECT_EQ(behind_macs(out[0]), behind_macs(hello));
            harness.burst(kFront, {client.data({1, 2, 3}, 1000)});
            EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade));
        }
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 6u);
    EXPECT_EQ(harness.count(Reason::drop_ack_cookie), 6u);
    EXPECT_EQ(harness.count(Reason::flow), 6u);
    harness.expect_conserved();
}

TEST_F(Pipeline, SynFloodLeavesNoState) {
    for (uint16_t i = 0; i < 1000; i++) {
        harness.burst(kFront, {TcpSegment{.source_port = i, .flags = kSyn}.frame()});
        harness.wire(kFront);
    }
    EXPECT_EQ(harness.context().flows.size(), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    EXPECT_EQ(harness.count(Reason::syn_cookie), 1000u);
}

TEST_F(Pipeline, HelloInSegmentsIsHeldThenGoesInOrder) {
    Client client(harness, 41000);
    client.syn();
    const auto hello = client_hello({.name = Harness::name(2), .padding = 1500});
    const std::vector<Frame> parts = {client.data(cut(hello, 0, 700)),
                                      client.data(cut(hello, 700, 1400), 700),
                                      client.data(cut(hello, 1400, 9999), 1400)};
    harness.burst(kFront, {parts[0]});
    EXPECT_EQ(harness.held(), 1u);
    harness.burst(kFront, {parts[1]});
    EXPECT_EQ(harness.held(), 2u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
    harness.burst(kFront, {parts[2]});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 3u);
    for (size_t i = 0; i < 3; i++) {
        EXPECT_EQ(behind_macs(out[i]), behind_macs(parts[i]));
        EXPECT_EQ(destination(out[i]), Harness::blade_mac(2));
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(harness.count(Reason::hello_rest), 2u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    harness.expect_conserved();
}

TEST_F(Pipeline, SegmentsOutOfOrderBehindTheFirst) {
    Client client(harness, 41000);
    client.syn();
    const auto hello = client_hello({.name = Harness::name(3), .padding = 1500});
    const Frame a = client.data(cut(hello, 0, 700)), b = client.data(cut(hello, 700, 1400), 700),
                c = client.data(cut(hello, 1400, 9999), 1400);
    harness.burst(kFront, {a, c, b});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 3u);
    EXPECT_EQ(behind_macs(out[1]), behind_macs(b)) << "sequence order, whatever the order of arrival";
    EXPECT_EQ(destination(out[2]), Harness::blade_mac(3));
}

TEST_F(Pipeline, DataBehindTheHelloInTheSameBurstFollowsIt) {
    Client client(harness, 41000);
    client.syn();
    const auto hello = hello_of(3);
    harness.burst(kFront, {client.data(hello), client.data({9}, static_cast<uint32_t>(hello.size()))});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(destination(out[1]), Harness::blade_mac(3));
    EXPECT_EQ(harness.count(Reason::steer_midstream), 0u);
    harness.expect_conserved();
}

TEST_F(Pipeline, WhatIsNotTlsGoesOnAtOnce) {
    Client client(harness, 41000);
    client.syn();
    harness.burst(kFront, {client.data({'G', 'E', 'T', ' ', '/'})});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_not_tls), 1u);
    EXPECT_EQ(harness.context().flows.size(), 1u);
}

TEST_F(Pipeline, MalformedHelloGoesToABladeThatAnswersTheAlert) {
    Client client(harness, 41000);
    client.syn();
    auto hello = hello_of(1);
    hello[43] = 200;
    harness.burst(kFront, {client.data(hello)});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_malformed), 1u);
}

TEST_F(Pipeline, IncompleteHelloGoesOnAfterItsTimeout) {
    Client client(harness, 41000);
    client.syn();
    const auto hello = hello_of(1);
    harness.burst(kFront, {client.data(cut(hello, 0, 100))});
    harness.advance(50'000);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.advance(51'000);
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_incomplete), 1u);
    harness.burst(kFront, {client.data(cut(hello, 100, 9999), 100)});
    EXPECT_EQ(harness.count(Reason::flow), 1u) << "the rest finds its flow";
    harness.expect_conserved();
}

TEST_F(Pipeline, RetransmissionEndsTheHold) {
    Client client(harness, 41000);
    client.syn();
    const Frame part = client.data(cut(hello_of(1), 0, 100));
    harness.burst(kFront, {part});
    harness.burst(kFront, {part});
    EXPECT_EQ(harness.wire(kBack).size(), 2u);
    EXPECT_EQ(harness.count(Reason::steer_incomplete), 1u);
    harness.expect_conserved();
}

TEST_F(Pipeline, ResetDuringTheHoldForgetsIt) {
    Client client(harness, 41000);
    client.syn();
    harness.burst(kFront, {client.data(cut(hello_of(1), 0, 100))});
    harness.burst(kFront, {client.segment({}, 100, kRst | kAck).frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.count(Reason::drop_rst_cookie), 2u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

TEST_F(Pipeline, ConnectAndCloseWithoutAWord) {
    Client client(harness, 41000);
    client.syn();
    harness.burst(kFront, {client.segment({}, 0, kFin | kAck).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 1u) << "a blade must answer the FIN";
    harness.burst(kFront, {client.segment({}, 0, kRst).frame()});
    harness.expect_conserved();
}

TEST_F(Pipeline, HoldTableFullSteersTheOldest) {
    const auto part = cut(hello_of(1), 0, 100);
    for (uint16_t i = 0; i < 10; i++) {
        Client client(harness, static_cast<uint16_t>(41000 + i));
        client.syn();
        harness.burst(kFront, {client.data(part)});
    }
    EXPECT_GE(harness.count(Reason::steer_hold_full), 2u);
    EXPECT_LE(harness.context().holds_table.in_use(), 8u);
    harness.expect_conserved();
}

/// A client that uses the port of its last connection again: the blade may have that one in TIME_WAIT.
class Reopened : public Pipeline {
  protected:
    void SetUp() override {
        client.syn();
        harness.burst(kFront, {client.data(hello_of(2))});
        harness.burst(kFront, {client.segment({}, 2000, kFin | kAck).frame()});
        harness.burst(kFront, {syn()});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 3u);
        EXPECT_EQ(destination(out[2]), Harness::blade_mac(2)) << "its own kernel must answer the SYN";
        EXPECT_EQ(harness.count(Reason::flow_syn), 1u);
        harness.burst(kFront, {client.segment({}, kNext).frame()});
        EXPECT_EQ(harness.wire(kBack).size(), 1u) << "the handshake is the blade's";
    }
    [[nodiscard]] Frame syn() const {
        TcpSegment s = client.segment({}, kNext - 1, kSyn);
        s.ack = 0;
        return s.frame();
    }
    static constexpr uint32_t kNext = 9001;  // stream offset of the new connection's first byte
    Client client{harness, 41000};
};

TEST_F(Reopened, SessionOfThatBladeIsUsedAtOnce) {
    harness.burst(kFront, {client.data(hello_of(2), kNext)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    EXPECT_EQ(harness.count(Reason::steer_home), 2u);
    harness.burst(kFront, {client.data({1}, kNext + 2000)});
    EXPECT_EQ(harness.count(Reason::flow), 3u) << "FIN, ACK, and this: an ordinary flow again";
    harness.expect_conserved();
}

TEST_F(Reopened, SessionOfAnotherBladeFollowsTheFlow) {
    const Frame hello = client.data(hello_of(3), kNext);
    harness.burst(kFront, {hello, client.data({1}, kNext + 2000)});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].from, 3);
    EXPECT_EQ(asks[0].to, 2);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.answer(asks[0], true);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(behind_macs(out[0]), behind_macs(hello));
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(2)) << "the connection is there";
    harness.expect_conserved();
}

TEST_F(Reopened, HelloInSegments) {
    const auto hello = hello_of(3);
    harness.burst(kFront, {client.data(cut(hello, 0, 100), kNext)});
    EXPECT_EQ(harness.held(), 1u);
    harness.burst(kFront, {client.data(cut(hello, 100, 9999), kNext + 100)});
    ASSERT_EQ(harness.asks().size(), 1u);
    harness.advance(25'000);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u) << "no answer in time: without the session, but to the blade that has the flow";
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(2));
    harness.expect_conserved();
}

TEST_F(Reopened, WhatIsNoHelloGoesOn) {
    harness.burst(kFront, {client.data({'G', 'E', 'T'}, kNext)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    harness.burst(kFront, {client.segment({}, kNext + 3, kFin | kAck).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    harness.expect_conserved();
}

TEST_F(Reopened, DrainingBladeGetsNoClosedFlowBack) {
    harness.burst(kFront, {client.segment({}, kNext, kFin | kAck).frame()});
    harness.set_blades({.up = {1, 3}, .draining = {2}});
    harness.wire(kBack);
    harness.burst(kFront, {syn()});
    EXPECT_EQ(harness.wire(kFront).size(), 1u) << "answered with a cookie, for another blade";
    EXPECT_TRUE(harness.wire(kBack).empty());
}

// --- sessions that are elsewhere

TEST_F(Pipeline, MovedTableBeatsHome) {
    harness.moved().set(Harness::name(1), 3, 1'800'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3));
    EXPECT_EQ(harness.count(Reason::steer_moved), 1u);
}

TEST_F(Pipeline, ExpiredMoveDoesNotCount) {
    harness.moved().set(Harness::name(1), 3, 1'600'000'000, 0);
    Client client(harness, 42000);
    client.syn();
    harness.burst(kFront, {client.data(hello_of(1))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
}

TEST_F(Pipeline, ForeignNamesGoByMaglevAndStay) {
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
    EXPECT_EQ(harness.count(Reason::drop_no_blade), 2u);
    EXPECT_TRUE(harness.wire(kFront).empty());
}

TEST(Plain, MaglevOfTheTuple) {
    Harness harness{Scene{.by_session = false}};
    std::set<MacAddress> used;
    for (uint16_t i = 0; i < 64; i++) {
        const TcpSegment syn{.source_port = i, .flags = kSyn},
            data{.source_port = i, .ack = 1, .payload = {1}};
        harness.burst(kFront, {syn.frame()});
        EXPECT_EQ(harness.context().flows.size(), i) << "a SYN leaves no state";
        harness.burst(kFront, {data.frame()});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 2u);
        EXPECT_EQ(destination(out[0]), destination(out[1]));
        used.insert(destination(out[0]));
    }
    EXPECT_EQ(used.size(), 3u);
}

TEST(Handoff, FlowsOfAnotherWorkerAreGivenToIt) {
    Harness harness{Scene{.workers = 2}};
    size_t mine = 0, theirs = 0;
    for (uint16_t i = 0; i < 64; i++) {
        harness.burst(kFront, {TcpSegment{.source_port = i, .flags = kSyn}.frame()});
        mine += harness.wire(kFront).size();
        theirs += harness.handed_over(1).size();
    }
    EXPECT_EQ(mine + theirs, 64u);
    EXPECT_GT(mine, 10u);
    EXPECT_GT(theirs, 10u);
    EXPECT_EQ(harness.count(Reason::handed_over), theirs);
    harness.expect_conserved();
}

TEST(Handoff, FullQueueDropsAndCounts) {
    Harness harness{Scene{.workers = 2}};
    for (uint16_t i = 0; i < 256; i++)
        harness.burst(kFront, {TcpSegment{.source_port = i, .flags = kSyn}.frame()});
    EXPECT_GT(harness.count(Reason::drop_handoff_full), 0u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
