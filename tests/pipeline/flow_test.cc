// SPDX-License-Identifier: Apache-2.0
// Known flows: reopened by their clients, plain layer 4, handed to the worker that owns them.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

class KnownFlow : public testing::Test {
  protected:
    Harness harness;
};

/// A client that has forgotten its connection, and uses the port again: only that blade's kernel can tell.
class Reopened : public KnownFlow {
  protected:
    void SetUp() override {
        client.syn();
        harness.burst(kFront, {client.data(one_segment_hello_of(2))});
        harness.burst(kFront, {syn()});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 2u);
        EXPECT_EQ(destination(out[1]), Harness::blade_mac(2)) << "its own kernel must answer the SYN";
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
    harness.burst(kFront, {client.data(one_segment_hello_of(2), kNext)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    EXPECT_EQ(harness.count(Reason::steer_home), 2u);
    harness.burst(kFront, {client.data({1}, kNext + 2000)});
    EXPECT_EQ(harness.count(Reason::flow), 2u) << "ACK, and this: an ordinary flow again";
    harness.expect_conserved();
}

TEST_F(Reopened, SessionOfAnotherBladeFollowsTheFlow) {
    const Frame hello = client.data(one_segment_hello_of(3), kNext);
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
    const auto hello = one_segment_hello_of(3);
    harness.burst(kFront, {client.data(cut(hello, 0, 100), kNext)});
    EXPECT_EQ(harness.wire(kBack).size(), 1u) << "read in passing: the blade has the connection";
    EXPECT_EQ(harness.held(), 0u);
    harness.burst(kFront, {client.data(cut(hello, 100, 9999), kNext + 100)});
    ASSERT_EQ(harness.asks().size(), 1u);
    EXPECT_TRUE(harness.wire(kBack).empty()) << "the last segment waits for the session";
    EXPECT_EQ(harness.held(), 1u);
    harness.advance(25'000);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 1u) << "no answer in time: without the session, but to the blade that has the flow";
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

TEST(Plain, AHandshakeStaysOnItsBladeWhenTheRingChanges) {
    Harness harness{Scene{.by_session = false}};
    harness.burst(kFront, {TcpSegment{.flags = kSyn}.frame()});
    const auto syn = harness.wire(kBack);
    ASSERT_EQ(syn.size(), 1u);
    const uint16_t blade = destination(syn[0]).back();
    Scene drained{.by_session = false};
    std::erase(drained.up, blade);
    drained.draining = {blade};
    harness.set_blades(drained);
    harness.burst(kFront, {TcpSegment{.ack = 1, .flags = kAck}.frame()});
    const auto ack = harness.wire(kBack);
    ASSERT_EQ(ack.size(), 1u);
    EXPECT_EQ(destination(ack[0]).back(), blade);
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
