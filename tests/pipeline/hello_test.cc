// SPDX-License-Identifier: Apache-2.0
// A ClientHello on its way through bind and hold, whole or in pieces.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

class Hello : public testing::Test {
  protected:
    Harness harness;
};

TEST_F(Hello, HelloGoesHomeWithNothingButMacsChanged) {
    for (const bool ipv6 : {false, true}) {
        for (uint16_t blade = 1; blade <= 3; blade++) {
            Client client(harness, static_cast<uint16_t>(40000 + blade), ipv6);
            client.syn();
            harness.burst(kFront, {client.segment().frame()});  // the handshake's ACK
            EXPECT_TRUE(harness.wire(kBack).empty());
            const auto hello =
                client.hello(hello_of(blade, blade == 2 ? TlsVersion::tls12 : TlsVersion::tls13));
            ASSERT_EQ(hello.size(), blade == 2 ? 1u : 2u) << "TLS 1.2 knows no post-quantum share";
            harness.burst(kFront, hello);
            const auto out = harness.wire(kBack);
            ASSERT_EQ(out.size(), hello.size());
            for (size_t i = 0; i < out.size(); i++) {
                EXPECT_EQ(destination(out[i]), Harness::blade_mac(blade));
                EXPECT_EQ(behind_macs(out[i]), behind_macs(hello[i]));
            }
            harness.burst(kFront, {client.data({1, 2, 3}, 4000)});
            EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade));
        }
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 6u);
    EXPECT_EQ(harness.count(Reason::drop_ack_cookie), 6u);
    EXPECT_EQ(harness.count(Reason::flow), 6u);
    harness.expect_conserved();
}

TEST_F(Hello, SynFloodLeavesNoState) {
    for (uint16_t i = 0; i < 1000; i++) {
        harness.burst(kFront, {TcpSegment{.source_port = i, .flags = kSyn}.frame()});
        harness.wire(kFront);
    }
    EXPECT_EQ(harness.context().flows.size(), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    EXPECT_EQ(harness.count(Reason::syn_cookie), 1000u);
}

TEST_F(Hello, HelloInSegmentsIsHeldThenGoesInOrder) {
    Client client(harness, 41000);
    client.syn();
    const auto hello = client_hello({.name = Harness::name(2), .padding = 500});
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

TEST_F(Hello, DataBehindTheHelloInTheSameBurstFollowsIt) {
    uint16_t port = 41000;
    for (const auto& hello : {hello_of(3), one_segment_hello_of(3)}) {
        Client client(harness, port++);
        client.syn();
        std::vector<Frame> frames = client.hello(hello);
        frames.push_back(client.data({9}, static_cast<uint32_t>(hello.size())));
        harness.burst(kFront, frames);
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), frames.size());
        for (const Frame& frame : out) EXPECT_EQ(destination(frame), Harness::blade_mac(3));
    }
    EXPECT_EQ(harness.count(Reason::steer_midstream), 0u);
    harness.expect_conserved();
}

TEST_F(Hello, WhatIsNotTlsGoesOnAtOnce) {
    Client client(harness, 41000);
    client.syn();
    harness.burst(kFront, {client.data({'G', 'E', 'T', ' ', '/'})});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_not_tls), 1u);
    EXPECT_EQ(harness.context().flows.size(), 1u);
}

TEST_F(Hello, MalformedHelloGoesToABladeThatAnswersTheAlert) {
    Client client(harness, 41000);
    client.syn();
    auto hello = hello_of(1);
    hello[43] = 200;
    harness.burst(kFront, client.hello(hello));
    EXPECT_EQ(harness.wire(kBack).size(), 2u);
    EXPECT_EQ(harness.count(Reason::steer_malformed), 1u);
}

TEST_F(Hello, ConnectAndCloseWithoutAWord) {
    Client client(harness, 41000);
    client.syn();
    harness.burst(kFront, {client.segment({}, 0, kFin | kAck).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 1u) << "a blade must answer the FIN";
    harness.burst(kFront, {client.segment({}, 0, kRst).frame()});
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
