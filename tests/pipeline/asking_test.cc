// SPDX-License-Identifier: Apache-2.0
// A packet in the middle of a connection that the flow table does not know waits while the agents are asked
// whose it is.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

struct AskingRow {
    const char* name;
    bool by_session, late, ipv6;
};
class Asking : public testing::TestWithParam<AskingRow> {
  protected:
    [[nodiscard]] Frame packet(uint16_t port, uint8_t flags = kAck, std::vector<uint8_t> payload = {}) const {
        const bool ipv6 = GetParam().ipv6;
        return TcpSegment{.source = ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                          .destination = ipv6 ? kVip6 : kVip4,
                          .source_port = port,
                          .seq = 777,
                          .ack = 888,
                          .flags = flags,
                          .payload = std::move(payload)}
            .frame();
    }
    /// Room for a flood's flows: where all eight places of a flow are taken, the oldest one has to go.
    Harness harness{Scene{
        .by_session = GetParam().by_session, .late = GetParam().late, .agents = true, .flow_buckets = 8192}};
};
INSTANTIATE_TEST_SUITE_P(Table, Asking,
                         testing::Values(AskingRow{"late", true, true, false},
                                         AskingRow{"late_ipv6", true, true, true},
                                         AskingRow{"early", true, false, false},
                                         AskingRow{"plain", false, false, false}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(Asking, GoesWhereItsBladeIs) {
    for (uint16_t blade = 1; blade <= 3; blade++) {
        const auto port = static_cast<uint16_t>(1000 + blade);
        const std::vector<Frame> sent = {packet(port), packet(port, kAck | kPsh, {1, 2}),
                                         packet(port, kFin | kAck)};
        for (const Frame& frame : sent) harness.burst(kFront, {frame});
        EXPECT_TRUE(harness.wire(kBack).empty());
        EXPECT_EQ(harness.held(), 3u);
        const auto asks = harness.flow_asks();
        ASSERT_EQ(asks.size(), 1u) << "once for each connection";
        EXPECT_EQ(asks[0].tuple, parse_headers(sent[0]).tuple);
        EXPECT_EQ(asks[0].ipv6, GetParam().ipv6);
        harness.answer(asks[0], blade);
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 3u);
        for (size_t i = 0; i < 3; i++) {
            EXPECT_EQ(destination(out[i]), Harness::blade_mac(blade));
            EXPECT_EQ(behind_macs(out[i]), behind_macs(sent[i]));
        }
        harness.burst(kFront, {packet(port)});
        EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade)) << "it is known now";
        EXPECT_TRUE(harness.flow_asks().empty());
    }
    EXPECT_EQ(harness.context().stats.flows_asked.get(), 3u);
    EXPECT_EQ(harness.context().stats.flows_found.get(), 3u);
    harness.expect_conserved();
}

TEST_P(Asking, NobodyHasItOrNobodyAnswers) {
    for (const bool answered : {true, false}) {
        const auto port = static_cast<uint16_t>(2000 + answered);
        harness.burst(kFront, {packet(port)});
        const auto asks = harness.flow_asks();
        ASSERT_EQ(asks.size(), 1u);
        if (answered) harness.answer(asks[0], 0);
        harness.advance(AskedFlows::kWaitUs + 1000);
        EXPECT_EQ(harness.wire(kBack).size(), 1u) << "by Maglev";
        harness.burst(kFront, {packet(port)});
        EXPECT_EQ(harness.wire(kBack).size(), 1u) << "and so its next ones";
        EXPECT_TRUE(harness.flow_asks().empty());
        harness.advance(AskedFlows::kStandsUs);
        harness.answer(asks[0], 2);
        EXPECT_EQ(harness.held(), 0u) << "too late";
    }
    EXPECT_EQ(harness.context().stats.flows_found.get(), 0u);
    harness.expect_conserved();
}

/// After an outage the ways to the agents may lie idle for a second. Meanwhile Maglev guesses.
TEST_P(Asking, ALateAnswerCorrectsTheGuess) {
    for (uint16_t blade = 1; blade <= 3; blade++) {
        const auto port = static_cast<uint16_t>(2100 + blade);
        harness.burst(kFront, {packet(port)});
        const auto asks = harness.flow_asks();
        ASSERT_EQ(asks.size(), 1u);
        harness.advance(AskedFlows::kWaitUs + 1000);
        EXPECT_EQ(harness.wire(kBack).size(), 1u) << "by Maglev";
        harness.advance(1'000'000);
        harness.answer(asks[0], blade);
        harness.burst(kFront, {packet(port, kAck | kPsh, {1, 2})});
        EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade));
        harness.answer(asks[0], blade % 3 + 1);
        harness.burst(kFront, {packet(port, kAck | kPsh, {1, 2})});
        EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(blade)) << "once";
    }
    EXPECT_EQ(harness.context().stats.flows_found.get(), 3u);
    harness.expect_conserved();
}

/// A new connection from the same port has come meanwhile.
TEST_P(Asking, ALateAnswerIsNotAboutTheNextConnection) {
    harness.burst(kFront, {packet(2200)});
    const auto asks = harness.flow_asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.advance(AskedFlows::kWaitUs + 1000);
    harness.wire(kBack);
    const Headers h = parse_headers(packet(2200));
    Context& context = harness.context();
    context.flows.insert(context.flow_hash(h), Flow(context.clock.ticks, BladeId(1), h.seq + 0x4000'0000u));
    harness.answer(asks[0], 2);
    EXPECT_EQ(context.flows.find(context.flow_hash(h), context.clock.ticks)->blade(), 1);
    EXPECT_EQ(context.stats.flows_found.get(), 0u);
}

TEST_P(Asking, WhatIsOverIsEnteredSo) {
    harness.burst(kFront, {packet(3000, kFin | kAck)});
    const auto asks = harness.flow_asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.answer(asks[0], 2, true);
    harness.wire(kBack);
    const Headers h = parse_headers(packet(3000));
    const Flow* flow =
        harness.context().flows.find(harness.context().flow_hash(h), harness.context().clock.ticks);
    ASSERT_NE(flow, nullptr);
    EXPECT_TRUE(flow->ended());
}

TEST_P(Asking, AFloodIsBoundedAndCannotHoldUpWhatIsKnown) {
    harness.bind_flow(packet(1), 2);
    for (uint16_t port = 10'000; port < 14'000; port++) {
        harness.burst(kFront, {packet(port), packet(port)});
        harness.wire(kBack);
        harness.flow_asks();
        ASSERT_LE(harness.held(), AskedFlows::kFlows * uint64_t{AskedFlows::kPackets});
    }
    EXPECT_LE(harness.context().stats.flows_asked.get(), 512u) << "2000 a second, 512 at once";
    EXPECT_LE(harness.held(), 1024u);
    harness.burst(kFront, {packet(1)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    harness.advance(AskedFlows::kWaitUs + 1000);
    harness.wire(kBack);
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

/// A process before this one gave the hello to a blade, and died before it was answered: the client sends it
/// again.
class AskingAfterARestart : public testing::TestWithParam<bool> {  // IPv6
  protected:
    void SetUp() override {
        before.syn();
        harness.advance(20'000);
        harness.context().begin_anew();
        harness.advance(20'000);
        after.syn();
    }
    Harness harness{Scene{.agents = true}};
    Client before{harness, 41000, GetParam()}, after{harness, 41001, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Families, AskingAfterARestart, testing::Values(false, true));

TEST_P(AskingAfterARestart, WhoWasAnsweredBeforeMayBeWithABladeAlready) {
    const auto hello = one_segment_hello_of(2);
    harness.burst(kFront, {before.data(cut(hello, 0, 200))});
    harness.burst(kFront, {before.data(cut(hello, 200, hello.size()), 200)});
    EXPECT_TRUE(harness.wire(kBack).empty());
    const auto asks = harness.flow_asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.answer(asks[0], 3);
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    for (const Frame& frame : out) EXPECT_EQ(destination(frame), Harness::blade_mac(3)) << "it has it";
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

/// The first half was acknowledged, the second is as long: it looks like one that overtook the first.
TEST_P(AskingAfterARestart, TheSecondHalfFollowsTheFirst) {
    const auto hello = one_segment_hello_of(2);
    const size_t half = hello.size() / 2;
    harness.burst(kFront, {before.data(cut(hello, half, 2 * half), static_cast<uint32_t>(half))});
    const auto asks = harness.flow_asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.answer(asks[0], 3);
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3));
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

TEST_P(AskingAfterARestart, WhatNobodyHasIsSteered) {
    harness.burst(kFront, {before.data(one_segment_hello_of(2))});
    const auto asks = harness.flow_asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.answer(asks[0], 0);
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    harness.expect_conserved();
}

TEST_P(AskingAfterARestart, WhoIsAnsweredByThisOneIsNotAskedFor) {
    harness.burst(kFront, {after.data(one_segment_hello_of(2))});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    EXPECT_TRUE(harness.flow_asks().empty());
    harness.advance(130'000'000);
    harness.expect_conserved();
}

/// They look like anything, but their flow is here: a question would hold them up.
TEST_P(AskingAfterARestart, TheLastAcknowledgementsOfAFlowAreNotAskedFor) {
    const auto hello = one_segment_hello_of(2);
    const auto end = static_cast<uint32_t>(hello.size());
    harness.burst(kFront, {after.data(hello)});
    harness.burst(kFront, {after.segment({}, end, kFin | kAck).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 2u);
    harness.burst(kBack, {TcpSegment{.source = GetParam() ? kVip6 : kVip4,
                                     .destination = GetParam() ? "2001:db8:1::10" : "192.0.2.10",
                                     .source_port = 443,
                                     .destination_port = 41001,
                                     .seq = after.cookie + 1,
                                     .ack = end,
                                     .flags = kFin | kAck,
                                     .source_mac = Harness::blade_mac(2)}
                              .frame()});
    harness.wire(kFront);
    harness.kernel(kBack);
    TcpSegment last = after.segment({}, end + 1, kAck);
    last.options.clear();  // they echo the blade's clock, which says as little of a cookie's age
    for (int i = 0; i < 10; i++) harness.burst(kFront, {last.frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 10u);
    EXPECT_TRUE(harness.flow_asks().empty());
    harness.expect_conserved();
}

/// Uploads of clients without timestamps, after a restart that lost the flow table.
TEST_P(Asking, WhatABladeHasIsNoGuess) {
    for (uint16_t port = 5000; port < 5100; port++) {
        for (int i = 0; i < 3; i++) harness.burst(kFront, {packet(port, kAck, {1, 2, 3})});
        const auto asks = harness.flow_asks();
        ASSERT_EQ(asks.size(), 1u);
        harness.answer(asks[0], 2);
    }
    const ServiceId service = harness.context().service(0).id;
    EXPECT_FALSE(harness.context().guesses.too_many(service, harness.context().clock.s));
    EXPECT_EQ(harness.wire(kBack).size(), 300u);
    harness.expect_conserved();
}

TEST_P(Asking, WhatNobodyHasIsAGuess) {
    if (!GetParam().late) return;
    const ServiceId service = harness.context().service(0).id;
    for (uint16_t port = 5000; port < 5050; port++) {
        harness.burst(kFront, {packet(port, kAck, {1, 2, 3})});
        harness.answer(harness.flow_asks().at(0), 0);
    }
    EXPECT_TRUE(harness.context().guesses.too_many(service, harness.context().clock.s));
    harness.expect_conserved();
}

/// There are fewer places than answers that stand.
TEST_P(Asking, AnAnswerGivesWayToAQuestion) {
    for (uint16_t port = 6000; port < 6000 + 2 * AskedFlows::kFlows; port++) {
        harness.advance(1000);  // 2000 questions a second may be asked
        harness.burst(kFront, {packet(port)});
        const auto asks = harness.flow_asks();
        ASSERT_EQ(asks.size(), 1u) << port;
        harness.answer(asks[0], 0);
        harness.burst(kFront, {packet(port)});
        ASSERT_TRUE(harness.flow_asks().empty()) << "the latest answer stands";
        ASSERT_EQ(harness.wire(kBack).size(), 2u) << port;
    }
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

TEST_P(Asking, OneConnectionHoldsAFewPackets) {
    for (int i = 0; i < 20; i++) harness.burst(kFront, {packet(4000)});
    EXPECT_EQ(harness.held(), AskedFlows::kPackets);
    EXPECT_EQ(harness.count(Reason::drop_ask_full), 20u - AskedFlows::kPackets);
    harness.expect_conserved();
}

class NobodyToAsk : public testing::TestWithParam<AskingRow> {};
INSTANTIATE_TEST_SUITE_P(Table, NobodyToAsk,
                         testing::Values(AskingRow{"late", true, true, false},
                                         AskingRow{"early", true, false, false},
                                         AskingRow{"plain", false, false, false}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(NobodyToAsk, WithoutControlOrChoice) {
    const AskingRow& row = GetParam();
    for (const Scene& scene :
         {Scene{.by_session = row.by_session, .late = row.late, .control_connected = false, .agents = true},
          Scene{.up = {1}, .by_session = row.by_session, .late = row.late, .agents = true}}) {
        Harness other{scene};
        other.burst(kFront, {TcpSegment{.source_port = 5000, .ack = 888}.frame()});
        EXPECT_EQ(other.wire(kBack).size(), 1u);
        EXPECT_TRUE(other.flow_asks().empty());
    }
}

}  // namespace
}  // namespace keyrail
