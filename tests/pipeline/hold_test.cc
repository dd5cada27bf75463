// SPDX-License-Identifier: Apache-2.0
// A ClientHello in segments that does not complete in time: its prefix goes on, the rest is read in passing.
#include "tests/pipeline/segments.h"

namespace keyrail {
namespace {

using namespace test;

class Incomplete : public Segments {};

TEST_F(Incomplete, SilenceLetsThePrefixGo) {
    send({piece(0), piece(1)});
    wait(9'000);
    EXPECT_EQ(frames_out, 0u);
    send({piece(3)});
    wait(9'000);
    EXPECT_EQ(frames_out, 0u) << "it is still sending";
    harness.advance(2'000);
    EXPECT_EQ(harness.wire(kBack).size(), 3u) << "in stream order, the one behind the gap last";
    EXPECT_EQ(harness.count(Reason::steer_incomplete), 1u);
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 3u) << "still read";
    harness.expect_conserved();
}

TEST_F(Incomplete, FirstOneIsLost) {
    send({piece(1), piece(2)});
    EXPECT_EQ(harness.held(), 2u);
    wait(11'000);
    EXPECT_EQ(frames_out, 2u) << "the blade drops them, and the client sends all again";
    for (size_t i = 0; i < pieces(); i++) send({piece(i)});
    for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_move) + harness.count(Reason::steer_home), 1u);
}

TEST_F(Incomplete, LastOneOfFullSizedSegmentsComesFirst) {
    const auto big = client_hello({.name = Harness::name(2)});
    const Frames segments = client.hello(big);
    ASSERT_EQ(segments.size(), 2u) << "what clients send today";
    send({segments[1]});
    EXPECT_EQ(harness.held(), 1u);
    send({segments[0]});
    EXPECT_EQ(stream, big);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
}

TEST_F(Incomplete, OvertakingNeedsTheCookie) {
    TcpSegment forged = client.segment(cut(hello, kPiece, 2 * kPiece), kPiece);
    forged.ack ^= 0x10000;
    send({forged.frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.count(Reason::steer_midstream), 1u);
}

TEST_F(Incomplete, LateSegmentCompletesItAndTheSessionFollows) {
    for (size_t i = 0; i < pieces(); i++)
        if (i != 1) send({piece(i)});
    wait(11'000);
    const size_t before = frames_out;
    send({piece(0)});  // a retransmission is the blade's business
    EXPECT_EQ(frames_out, before + 1);
    send({piece(1)});
    ASSERT_EQ(blades.size(), 1u);
    if (const auto asks = harness.asks(); !blades.contains(2)) {
        ASSERT_EQ(asks.size(), 1u);
        EXPECT_EQ(asks[0].from, 2);
        EXPECT_EQ(asks[0].to, *blades.begin());
        EXPECT_EQ(frames_out, before + 1) << "the blade has all but this one";
        EXPECT_EQ(harness.held(), 1u);
        harness.answer(asks[0], true);
        EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    }
    EXPECT_EQ(harness.wire(kBack).size(), blades.contains(2) ? 0u : 1u);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 0u);
    harness.expect_conserved();
    EXPECT_EQ(harness.count(Reason::steer_incomplete), 1u);
}

TEST_F(Incomplete, MoreThanAnInitialWindowIsReadInPassing) {
    size_t sent = 0;
    const auto send_one = [&] {
        send({piece(sent++, 40)});
        wait(100);
    };
    while (sent < 9) send_one();
    EXPECT_EQ(frames_out, 0u);
    send_one();
    EXPECT_EQ(frames_out, 10u) << "RFC 6928: the client waits for an acknowledgement now";
    while (sent * 40 < hello.size()) send_one();
    for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(blades.size(), 1u);
    EXPECT_EQ(harness.count(Reason::steer_move) + harness.count(Reason::steer_home), 1u);
    harness.expect_conserved();
}

TEST_F(Incomplete, TheSameInOneBurst) {
    Frames all;
    for (size_t i = 0; i * 20 < hello.size(); i++) all.push_back(piece(i, 20));
    ASSERT_LE(all.size(), kBurst);
    harness.burst(kFront, all);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u) << "there is no reason to give up what is complete";
}

TEST_F(Incomplete, OneByteSegments) {
    for (size_t i = 0; i < hello.size(); i++) {
        harness.burst(kFront, {piece(i, 1)});
        harness.advance(10);
        collect();
    }
    for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_move) + harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Incomplete, NeverCompletes) {
    send({piece(0)});
    for (int i = 0; i < 50; i++) wait(100'000);
    EXPECT_EQ(frames_out, 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 0u);
    send({piece(1)});
    EXPECT_EQ(harness.count(Reason::flow), 1u) << "the rest finds its flow";
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Incomplete, ATricklingClientIsNotHeldForLong) {
    for (size_t i = 0; frames_out == 0; i++) {
        ASSERT_LT(i, 12u) << "hello_timeout is 100 ms";
        send({piece(i, 10)});
        wait(9'000);
    }
}

TEST_F(Incomplete, ResetForgetsIt) {
    send({piece(0), piece(1), client.segment({}, 2 * kPiece, kRst | kAck).frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.count(Reason::drop_rst_cookie), 3u);
    EXPECT_EQ(frames_out, 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Incomplete, ResetWhileItIsReadInPassing) {
    send({piece(0)});
    wait(11'000);
    send({client.segment({}, kPiece, kRst | kAck).frame()});
    EXPECT_EQ(frames_out, 2u) << "the blade must know";
    for (int i = 0; i < 50; i++) wait(100'000);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 0u);
}

/// The window of our SYN-ACK is 64 240 bytes: not the client's, and so it ends nothing.
TEST_F(Incomplete, TooFarAhead) {
    send({piece(0), client.data({1, 2, 3}, 70'000)});
    EXPECT_EQ(frames_out, 0u);
    EXPECT_EQ(harness.count(Reason::drop_out_of_window), 1u);
    for (size_t i = 1; i < pieces(); i++) send({piece(i)});
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Incomplete, LongerThanTheServiceAllows) {
    send({client.data({22, 3, 1, 0x40, 0, 1, 0, 0xff, 0})});
    EXPECT_EQ(harness.count(Reason::steer_too_long), 1u);
    EXPECT_EQ(frames_out, 1u);
}

TEST_F(Incomplete, BladeGoesDownWhileItReads) {
    send({piece(0)});
    wait(11'000);
    const uint16_t first = *blades.begin();
    Scene scene{.down = {first}};
    std::erase(scene.up, first);
    harness.set_blades(scene);
    blades.clear();
    send({piece(0)});  // nobody acknowledged it
    wait(11'000);
    EXPECT_FALSE(blades.contains(first));
    EXPECT_EQ(blades.size(), 1u);
}

// --- bounded memory

TEST_F(Incomplete, FullTableLetsTheOldestGo) {
    std::vector<Client> clients;
    for (uint16_t i = 0; i < 10; i++) {
        clients.emplace_back(harness, static_cast<uint16_t>(42000 + i)).syn();
        harness.burst(kFront, {clients.back().data(cut(hello, 0, 100))});
    }
    EXPECT_EQ(harness.count(Reason::steer_hold_full), 6u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 4u);
    EXPECT_EQ(harness.wire(kBack).size(), 6u);
    harness.burst(kFront, {clients[9].data(cut(hello, 100, 9999), 100)});
    EXPECT_EQ(harness.count(Reason::steer_home), 1u) << "the youngest is still there";
    harness.burst(kFront, {clients[0].data(cut(hello, 100, 9999), 100)});
    EXPECT_EQ(harness.count(Reason::flow), 1u) << "the oldest is with a blade";
    harness.expect_conserved();
}

TEST_F(Incomplete, FullTableStopsReadingBeforeItLetsGo) {
    send({piece(0)});
    wait(11'000);
    for (uint16_t i = 0; i < 4; i++) {
        Client other(harness, static_cast<uint16_t>(42000 + i));
        other.syn();
        harness.burst(kFront, {other.data(cut(hello, 0, 100))});
    }
    EXPECT_EQ(harness.count(Reason::steer_hold_full), 0u);
    send({piece(1)});
    EXPECT_EQ(harness.count(Reason::flow), 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 4u);
}

TEST(SegmentMemory, IsBoundedToo) {
    Harness harness{Scene{.segments = 120}};
    const auto hello = client_hello({.name = Harness::name(2), .padding = 400, .post_quantum = false});
    for (uint16_t i = 0; i < 3; i++) {
        Client client(harness, static_cast<uint16_t>(42000 + i));
        client.syn();
        Frames frames;
        for (uint32_t at = 0; at < 200; at += 4) frames.push_back(client.data(cut(hello, at, at + 2), at));
        harness.burst(kFront, frames);
        EXPECT_LE(harness.context().holds_table.kept_segments(), 120u);
    }
    EXPECT_EQ(harness.count(Reason::steer_hold_full), 1u);
    EXPECT_EQ(harness.held(), 100u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
