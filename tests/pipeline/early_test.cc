// SPDX-License-Identifier: Apache-2.0
// Early binding (the blade is chosen at the SYN, the key follows the flow), and foreign tickets, which choose
// the blade without a name of ours.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

uint16_t blade_of(const Frame& frame) { return destination(frame).back(); }

/// A client whose handshake is answered by a blade.
TcpSegment from_client(uint16_t port, uint8_t flags, uint32_t offset = 0, std::vector<uint8_t> payload = {}) {
    return {.source_port = port,
            .seq = 1000 + offset,
            .ack = flags & kAck ? 5000u : 0u,
            .flags = flags,
            .payload = std::move(payload)};
}

class EarlyBinding : public testing::Test {
  protected:
    /// The one frame that went to a blade since the last call; 0 when none did.
    uint16_t went_to() {
        const auto out = harness.wire(kBack);
        EXPECT_LE(out.size(), 1u);
        return out.empty() ? uint16_t{0} : blade_of(out[0]);
    }
    uint16_t send(const TcpSegment& segment) {
        harness.burst(kFront, {segment.frame()});
        return went_to();
    }
    Harness harness{Scene{.late = false}};
};

TEST_F(EarlyBinding, SynGoesToABladeAndLeavesNothing) {
    for (uint16_t port = 40000; port < 40050; port++) {
        const uint16_t blade = send(from_client(port, kSyn));
        EXPECT_NE(blade, 0);
        EXPECT_EQ(send(from_client(port, kSyn)), blade) << "a retransmitted SYN goes the same way";
    }
    EXPECT_EQ(harness.context().flows.size(), 0u);
    EXPECT_TRUE(harness.wire(kFront).empty()) << "nobody but the blade answers";
    EXPECT_EQ(harness.count(Reason::bind_early), 100u);
    harness.expect_conserved();
}

/// Seen in the lab: a drain between the SYN and the handshake's last packet broke the connection.
TEST_F(EarlyBinding, TheLastPacketOfAHandshakeGoesWhereItsSynWent) {
    const uint16_t blade = send(from_client(40000, kSyn));
    Scene drained{.late = false};
    std::erase(drained.up, blade);
    drained.draining = {blade};
    harness.set_blades(drained);
    EXPECT_EQ(send(from_client(40000, kAck)), blade);
    EXPECT_NE(send(from_client(40001, kSyn)), blade) << "new ones go elsewhere";
}

TEST_F(EarlyBinding, HandshakeStaysOnItsBladeWhenTheRingChanges) {
    const uint16_t blade = send(from_client(40000, kSyn));
    EXPECT_EQ(send(from_client(40000, kAck)), blade);
    EXPECT_EQ(harness.context().flows.size(), 1u);
    Scene drained{.late = false};
    std::erase(drained.up, blade);
    drained.draining = {blade};
    harness.set_blades(drained);
    EXPECT_EQ(send(from_client(40000, kAck, 1, client_hello({.post_quantum = false}))), blade);
    EXPECT_EQ(harness.count(Reason::steer_new), 1u);
    harness.expect_conserved();
}

/// Seen in the lab: a drain moved the session to a third blade at the same time, the hello followed it there,
/// and that blade, which knew nothing of the connection, reset it.
TEST_F(EarlyBinding, ConnectionStaysWhereverItsSessionHasGone) {
    const uint16_t blade = send(from_client(40000, kSyn));
    const auto holder = static_cast<uint16_t>(blade % 3 + 1), third = static_cast<uint16_t>(holder % 3 + 1);
    send(from_client(40000, kAck));
    EXPECT_EQ(send(from_client(40000, kAck, 1, one_segment_hello_of(holder))), 0) << "waits for its session";
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.answer_elsewhere(asks[0], third);
    EXPECT_EQ(went_to(), blade);
    EXPECT_EQ(harness.count(Reason::steer_move_failed), 1u);
    EXPECT_EQ(send(from_client(40000, kAck, 600, std::vector<uint8_t>{1})), blade);
    harness.expect_conserved();
}

TEST_F(EarlyBinding, SessionIsPushedToTheBladeThatHasTheFlow) {
    const uint16_t blade = send(from_client(40000, kSyn));
    const uint16_t holder = blade % 3 + 1;
    EXPECT_EQ(send(from_client(40000, kAck)), blade);
    EXPECT_EQ(send(from_client(40000, kAck, 1, one_segment_hello_of(holder))), 0) << "waits for its session";
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].from, holder);
    EXPECT_EQ(asks[0].to, blade);
    harness.answer(asks[0], true);
    EXPECT_EQ(went_to(), blade);
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    harness.expect_conserved();
}

TEST_F(EarlyBinding, SessionThatIsThereAlreadyNeedsNoMove) {
    const uint16_t blade = send(from_client(40000, kSyn));
    send(from_client(40000, kAck));
    EXPECT_EQ(send(from_client(40000, kAck, 1, one_segment_hello_of(blade))), blade);
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
}

TEST_F(EarlyBinding, HelloWithoutTheBareAckBeforeIt) {
    const uint16_t blade = send(from_client(40000, kSyn));
    EXPECT_EQ(send(from_client(40000, kAck, 1, one_segment_hello_of(blade))), blade);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
}

TEST_F(EarlyBinding, HelloInTwoSegmentsIsReadInPassing) {
    const uint16_t blade = send(from_client(40000, kSyn));
    send(from_client(40000, kAck));
    const auto hello = hello_of(blade);
    const auto middle = hello.begin() + kFullSegment;
    harness.burst(kFront, {from_client(40000, kAck, 1, {hello.begin(), middle}).frame()});
    harness.burst(kFront, {from_client(40000, kAck, 1 + kFullSegment, {middle, hello.end()}).frame()});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    for (const Frame& frame : out) EXPECT_EQ(blade_of(frame), blade);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    harness.expect_conserved();
}

TEST_F(EarlyBinding, ResetLeavesNothing) {
    EXPECT_NE(send(from_client(40000, kRst)), 0);
    EXPECT_EQ(harness.context().flows.size(), 0u);
}

TEST_F(EarlyBinding, ConnectionAnsweredBeforeTheServiceChangedIsFinishedLate) {
    harness.set_blades(Scene{});
    Client client(harness, 40000);
    client.syn();
    harness.set_blades(Scene{.late = false});
    for (uint16_t blade = 1; blade <= 3; blade++) {
        harness.burst(kFront, {client.data(one_segment_hello_of(blade))});
        EXPECT_EQ(went_to(), blade) << "the flow follows the key";
        harness.forget_flows();
    }
    EXPECT_EQ(harness.count(Reason::steer_home), 3u);
}

// --- foreign tickets

/// A ticket as a server without our hooks makes it: key name, IV, ciphertext, MAC (RFC 5077 section 4).
std::vector<uint8_t> ticket(uint8_t key) {
    std::vector<uint8_t> bytes(160, 0xab);
    std::fill_n(bytes.begin(), kTicketKeyNameSize, key);
    return bytes;
}

class ForeignTicket : public testing::TestWithParam<TlsVersion> {};

TEST_P(ForeignTicket, GoesToTheBladeThatHasItsKey) {
    for (uint16_t blade = 1; blade <= 3; blade++) {
        Harness harness{Scene{.ticket_keys = {{1, 1}, {2, 2}, {3, 3}}}};
        Client client(harness, 40000);
        client.syn();
        const auto hello = client.hello(
            client_hello({.max_version = GetParam(), .ticket = ticket(static_cast<uint8_t>(blade))}));
        harness.burst(kFront, hello);
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), hello.size());
        for (const Frame& frame : out) EXPECT_EQ(blade_of(frame), blade);
        EXPECT_EQ(harness.count(Reason::steer_ticket), 1u);
        harness.expect_conserved();
    }
}

TEST_P(ForeignTicket, OfNobodyOrOfABladeThatDrainsIsSteeredAsNew) {
    Harness harness{Scene{.up = {1, 2}, .draining = {3}, .ticket_keys = {{3, 3}}}};
    uint16_t port = 40000;
    for (const uint8_t key : {uint8_t{3}, uint8_t{9}}) {
        Client client(harness, port++);
        client.syn();
        const auto hello = client.hello(client_hello({.max_version = GetParam(), .ticket = ticket(key)}));
        harness.burst(kFront, hello);
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), hello.size());
        for (const Frame& frame : out) EXPECT_NE(blade_of(frame), 3);
    }
    EXPECT_EQ(harness.count(Reason::steer_foreign), 2u);
    EXPECT_TRUE(harness.asks().empty()) << "the session is in the ticket: there is nothing to move";
}

INSTANTIATE_TEST_SUITE_P(Versions, ForeignTicket, testing::Values(TlsVersion::tls12, TlsVersion::tls13),
                         [](const auto& version) {
                             return version.param == TlsVersion::tls13 ? "tls13" : "tls12";
                         });

}  // namespace
}  // namespace keyrail
