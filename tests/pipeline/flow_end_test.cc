// SPDX-License-Identifier: Apache-2.0
// How flows end.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

/// A connection of a client to blade 2, by IP version.
class Ends : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        client.syn();
        harness.burst(kFront, {client.data(hello)});
        ASSERT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    }
    void client_says(uint8_t flags, uint32_t offset) {
        const Frame said = client.segment({}, offset, flags).frame();
        harness.burst(kFront, {said});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(behind_macs(out[0]), behind_macs(said)) << "its blade judges it";
    }
    void blade_says(uint8_t flags, uint16_t blade = 2) {
        const bool ipv6 = GetParam();
        harness.burst(kBack, {TcpSegment{.source = ipv6 ? kVip6 : kVip4,
                                         .destination = ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                                         .source_port = 443,
                                         .destination_port = kPort,
                                         .seq = client.cookie + 1,
                                         .ack = end,
                                         .flags = flags,
                                         .source_mac = Harness::blade_mac(blade)}
                                  .frame()});
        harness.wire(kFront);
        harness.kernel(kBack);
    }
    /// Still bound to its blade? Asked of the table: asking by a packet would refresh it.
    bool known() {
        Context& context = harness.context();
        const Headers h = parse_headers(client.segment().frame());
        return context.flows.find(context.flow_hash(h), context.clock.ticks, context.service(0).idle_ticks) !=
               nullptr;
    }

    static constexpr uint16_t kPort = 41000;
    Harness harness;
    Client client{harness, kPort, GetParam()};
    const std::vector<uint8_t> hello = one_segment_hello_of(2);
    const uint32_t end = static_cast<uint32_t>(hello.size());  // stream offset behind it
};
INSTANTIATE_TEST_SUITE_P(Ipv6, Ends, testing::Bool());

TEST_P(Ends, AStrangersRstOrFinEndsNothing) {
    for (const uint32_t offset : {0x12345678u, 1u << 25, 0x7fffffffu, 0x80000000u, 0u - (1u << 20)}) {
        client_says(kRst, offset);
        client_says(kFin | kAck, offset);
    }
    harness.advance(kKeepAliveUs);
    EXPECT_TRUE(known());
}

TEST_P(Ends, HalfClosedLivesAsLongAsIdle) {
    client_says(kFin | kAck, end);
    harness.advance(kKeepAliveUs);
    EXPECT_TRUE(known());
    client_says(kAck, end + 1);
    EXPECT_EQ(harness.count(Reason::flow), 2u);
}

TEST_P(Ends, BothFinsEndItAfterTimeWait) {
    client_says(kFin | kAck, end);
    blade_says(kFin | kAck);
    harness.advance(kTimeWaitUs);
    EXPECT_TRUE(known());
    harness.advance(kForgottenUs - kTimeWaitUs);
    EXPECT_FALSE(known());
}

TEST_P(Ends, TheServerClosesFirst) {
    blade_says(kFin | kAck);
    harness.advance(kForgottenUs);
    EXPECT_TRUE(known()) << "the client has more to say";
    client_says(kFin | kAck, end);
    harness.advance(kForgottenUs);
    EXPECT_FALSE(known());
}

TEST_P(Ends, TheBladesRstEndsIt) {
    blade_says(kRst);
    harness.advance(kForgottenUs);
    EXPECT_FALSE(known());
}

TEST_P(Ends, TheClientsRstEndsIt) {
    client_says(kRst, end);
    harness.advance(kForgottenUs);
    EXPECT_FALSE(known());
}

/// A blade that got a packet of the connection by mistake resets what it does not have.
TEST_P(Ends, AnotherBladesWordDoesNotCount) {
    blade_says(kRst, 3);
    client_says(kFin | kAck, end);
    blade_says(kFin | kAck, 3);
    harness.advance(kKeepAliveUs);
    EXPECT_TRUE(known());
}

/// Who guesses the upper byte of a sequence number ends no connection whose client goes on.
TEST_P(Ends, ALuckyStrangersRstEndsNothing) {
    client_says(kRst, 1u << 20);
    client_says(kAck, end);
    harness.advance(kKeepAliveUs);
    EXPECT_TRUE(known());
    client_says(kAck, end);
    EXPECT_EQ(harness.count(Reason::flow), 3u);
}

TEST_P(Ends, AnUploadsFinIsTheClients) {
    uint32_t sent = end;
    for (int second = 0; second < 20; second++) {
        harness.advance(kSecondUs + kSecondUs / 16);
        harness.burst(kFront, {client.data({1}, sent += 8u << 20)});
    }
    harness.wire(kBack);
    client_says(kFin | kAck, sent + 1);
    blade_says(kFin | kAck);
    harness.advance(kForgottenUs);
    EXPECT_FALSE(known());
}

/// 1 Gbit/s: `place` stays behind.
TEST_P(Ends, AFastUploadEndsWhenItsBladeHasFinished) {
    uint32_t sent = end;
    for (int second = 0; second < 10; second++) {
        harness.advance(kSecondUs + kSecondUs / 16);
        harness.burst(kFront, {client.data({1}, sent += 119u << 20)});
    }
    harness.wire(kBack);
    client_says(kFin | kAck, sent + 1);
    blade_says(kFin | kAck);
    client_says(kFin | kAck, sent + 1);
    harness.advance(kForgottenUs);
    EXPECT_FALSE(known());
}

TEST(Idle, IsAsTheServiceSays) {
    Harness harness{Scene{.idle_timeout_s = 120}};
    const Frame data = TcpSegment{.ack = 1, .payload = {1}}.frame();
    harness.bind_flow(data, 2);
    harness.advance(119 * kSecondUs);
    harness.burst(kFront, {data});
    EXPECT_EQ(harness.count(Reason::flow), 1u);
    harness.advance(122 * kSecondUs);
    harness.burst(kFront, {data});
    EXPECT_EQ(harness.count(Reason::flow), 1u) << "forgotten";
    harness.wire(kBack);
}

/// What another worker heard.
TEST(EndsOfOthers, TheOwnerIsTold) {
    Harness harness{Scene{.workers = 2}};
    uint64_t told = 0;
    for (uint16_t port = 1000; port < 1064; port++) {
        const Frame data = TcpSegment{.source_port = port, .ack = 1, .payload = {1}}.frame();
        harness.bind_flow(data, 2);
        harness.burst(kBack, {TcpSegment{.source = kVip4,
                                         .destination = "192.0.2.10",
                                         .source_port = 443,
                                         .destination_port = port,
                                         .flags = kRst,
                                         .source_mac = Harness::blade_mac(2)}
                                  .frame()});
        for (const FlowEnd& end : harness.flow_ends(1)) {
            EXPECT_EQ(end.hash, harness.context().flow_hash(parse_headers(data)));
            EXPECT_EQ(end.flags, kRst);
            told++;
        }
    }
    EXPECT_GT(told, 10u);
    EXPECT_LT(told, 54u);
    harness.wire(kFront);
}

// --- in the same burst as the hello

struct Together {
    const char* name;
    bool late;
    uint8_t said;
};
class EndsAtOnce : public testing::TestWithParam<Together> {};
INSTANTIATE_TEST_SUITE_P(Table, EndsAtOnce,
                         testing::Values(Together{"late_fin", true, kFin | kAck},
                                         Together{"late_rst", true, kRst},
                                         Together{"early_fin", false, kFin | kAck},
                                         Together{"early_rst", false, kRst}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(EndsAtOnce, TheFlowKnows) {
    const auto& [name, late, said] = GetParam();
    Harness harness{Scene{.late = late}};
    Client client{harness, 41000};
    uint16_t blade = 2;
    if (late) {
        client.syn();
    } else {
        harness.burst(kFront, {client.segment({}, UINT32_MAX, kSyn).frame()});
        blade = destination(harness.wire(kBack).at(0)).back();
    }
    const auto hello = one_segment_hello_of(blade);
    const auto end = static_cast<uint32_t>(hello.size());
    harness.burst(kFront, {client.data(hello), client.segment({}, end, said).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 2u);
    Context& context = harness.context();
    const Flow* flow =
        context.flows.find(context.flow_hash(parse_headers(client.segment().frame())), context.clock.ticks);
    ASSERT_NE(flow, nullptr);
    EXPECT_TRUE(flow->client_done);
    EXPECT_EQ(flow->ended(), said == kRst);
    harness.expect_conserved();
}

TEST(EndsAtOnceWhileItMoves, ARstGivesItUp) {
    Harness harness{Scene{.up = {1, 3}, .draining = {2}}};
    Client client{harness, 41000};
    client.syn();
    const auto hello = one_segment_hello_of(2);
    const auto end = static_cast<uint32_t>(hello.size());
    harness.burst(kFront,
                  {client.data(hello), client.segment({}, end, kRst | kAck).frame(), client.data({1}, end)});
    EXPECT_EQ(harness.asks().size(), 1u);
    EXPECT_EQ(harness.held(), 0u);
    harness.advance(kSecondUs);
    EXPECT_TRUE(harness.wire(kBack).empty());
    EXPECT_EQ(harness.context().flows.size(), 0u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
