// SPDX-License-Identifier: Apache-2.0
// A ClientHello in segments: whatever the network does to them, the blade gets the client's stream in order,
// and the session is where the stream goes.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

constexpr size_t kPiece = 200;
using Frames = std::vector<Frame>;

class Segments : public testing::Test {
  protected:
    void SetUp() override { client.syn(); }

    [[nodiscard]] Frame piece(size_t i, size_t size = kPiece) const {
        return client.data(cut(hello, i * size, (i + 1) * size), static_cast<uint32_t>(i * size));
    }
    /// One after the other, each in a burst of its own; collects what goes to the blades.
    void send(const Frames& frames) {
        for (const Frame& frame : frames) {
            harness.burst(kFront, {frame});
            collect();
        }
        harness.expect_conserved();
    }
    void wait(uint64_t us) {
        harness.advance(us);
        collect();
        harness.expect_conserved();
    }
    void collect() {
        for (const Frame& frame : harness.wire(kBack)) {
            const Headers h = parse_headers(frame);
            const auto offset = static_cast<uint32_t>(h.seq - first_seq);
            blades.insert(destination(frame).back());
            frames_out++;
            if (offset > stream.size()) continue;  // behind a gap
            const size_t known = std::min<size_t>(stream.size() - offset, h.payload_size);
            stream.insert(stream.end(), frame.begin() + h.payload + static_cast<ptrdiff_t>(known),
                          frame.begin() + h.payload + h.payload_size);
        }
    }
    [[nodiscard]] size_t pieces() const { return (hello.size() + kPiece - 1) / kPiece; }

    Harness harness{Scene{.holds = 4}};
    Client client{harness, 41000};
    const std::vector<uint8_t> hello =
        client_hello({.name = Harness::name(2), .padding = 400, .post_quantum = false});
    const uint32_t first_seq = 5001;  // of Client
    std::vector<uint8_t> stream;      // what the blades got
    std::set<uint16_t> blades;        // which of them
    size_t frames_out = 0;
};

// --- the hello completes in the hold

struct Network {
    const char* name;
    /// The client's segments as they arrive.
    Frames (*arrive)(Frames pieces, const Client& client);
    Reason also = Reason::hello_rest;  // a counter that must have moved
};

Frames with(Frames pieces, size_t at, const Frame& extra) {
    pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(at), extra);
    return pieces;
}

const Network kNetworks[] = {
    {"in_order", [](Frames p, const Client&) { return p; }},
    {"backwards_behind_the_first",
     [](Frames p, const Client&) {
         std::reverse(p.begin() + 1, p.end());
         return p;
     }},
    {"the_first_is_overtaken",
     [](Frames p, const Client&) {
         std::rotate(p.begin(), p.begin() + 1, p.begin() + 4);
         return p;
     }},
    {"every_segment_twice",
     [](Frames p, const Client&) {
         Frames twice;
         for (const Frame& frame : p) twice.insert(twice.end(), {frame, frame});
         twice.pop_back();
         return twice;
     },
     Reason::drop_duplicate},
    {"overlapping",
     [](Frames p, const Client& client) {
         const Headers h = parse_headers(p[1]);
         std::vector<uint8_t> both(p[0].end() - 50, p[0].end());
         both.insert(both.end(), p[1].begin() + h.payload, p[1].end());
         auto out = p;
         out[1] = client.data(both, static_cast<uint32_t>(kPiece) - 50);
         return out;
     }},
    {"bare_acknowledgements_between",
     [](Frames p, const Client& c) { return with(p, 2, c.segment({}, 2 * kPiece).frame()); },
     Reason::drop_ack_cookie},
    {"keep_alive_of_no_byte",
     [](Frames p, const Client& c) { return with(p, 2, c.segment({}, kPiece - 1).frame()); },
     Reason::drop_ack_cookie},
    {"keep_alive_of_one_byte",
     [](Frames p, const Client& c) { return with(p, 2, c.segment({0}, 2 * kPiece - 1).frame()); },
     Reason::drop_duplicate},
    {"urgent_data_is_data",
     [](Frames p, const Client& c) {
         const Headers h = parse_headers(p[1]);
         p[1] = c.segment({p[1].begin() + h.payload, p[1].end()}, kPiece, kAck | kUrg).frame();
         return p;
     }},
    {"fin_on_the_last",
     [](Frames p, const Client& c) {
         const Headers h = parse_headers(p.back());
         p.back() = c.segment({p.back().begin() + h.payload, p.back().end()},
                              static_cast<uint32_t>(h.seq - 5001), kAck | kFin)
                        .frame();
         return p;
     }},
    {"fin_before_the_last",
     [](Frames p, const Client& c) {
         const Headers h = parse_headers(p.back());
         return with(
             p, p.size() - 1,
             c.segment({}, static_cast<uint32_t>(h.seq - 5001) + h.payload_size, kAck | kFin).frame());
     }},
    {"reset_that_is_not_the_clients",
     [](Frames p, const Client& c) { return with(p, 2, c.segment({}, 1u << 20, kRst | kAck).frame()); },
     Reason::drop_rst_cookie},
    {"early_data_behind_it_first",
     [](Frames p, const Client& c) { return with(p, 1, c.data({1, 2, 3}, 3000)); }},
};

class Arrives : public Segments, public testing::WithParamInterface<Network> {};

TEST_P(Arrives, AndGoesHomeInOrder) {
    Frames frames;
    for (size_t i = 0; i < pieces(); i++) frames.push_back(piece(i));
    ASSERT_GE(frames.size(), 4u);
    frames = GetParam().arrive(frames, client);
    const Frames but_last(frames.begin(), frames.end() - 1);
    send(but_last);
    EXPECT_EQ(frames_out, 0u);
    EXPECT_GT(harness.held(), 0u);
    harness.burst(kFront, {frames.back()});
    const auto out = harness.wire(kBack);
    for (const Frame& frame : out) {
        const Headers h = parse_headers(frame);
        const auto offset = static_cast<uint32_t>(h.seq - first_seq);
        if (offset > hello.size()) continue;  // early data, out of order as it came
        ASSERT_LE(offset, stream.size());
        stream.resize(offset);
        stream.insert(stream.end(), frame.begin() + h.payload, frame.begin() + h.payload + h.payload_size);
        EXPECT_EQ(destination(frame), Harness::blade_mac(2));
    }
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_GT(harness.count(GetParam().also), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    harness.expect_conserved();
}

INSTANTIATE_TEST_SUITE_P(Table, Arrives, testing::ValuesIn(kNetworks),
                         [](const auto& row) { return std::string(row.param.name); });

// --- what is not the client's

/// Segments at places of the circle of sequence numbers where the client cannot be: a blade never gets them
/// with a hold, nothing waits for them, and the hello is read as if they had not come.
TEST_F(Segments, NothingFarAheadOrBehindIsHeld) {
    const std::vector<uint32_t> far = {0x7ffffff8, 0x7ffffffc, 0x7fffffff, 0x80000000,     0x80000001,
                                       0xc0000000, 1u << 20,   1u << 17,   0u - (1u << 17)};
    send({piece(0)});
    uint64_t sent = 0;
    for (const uint32_t offset : far) {
        for (const int flags : {kAck | kPsh, kAck | kFin, kAck | kUrg, kAck | kRst}) {
            send({client.segment({1, 2, 3, 4, 5, 6, 7, 8}, offset, static_cast<uint8_t>(flags)).frame()});
            EXPECT_EQ(harness.held(), 1u) << std::hex << offset;
            EXPECT_EQ(frames_out, 0u) << std::hex << offset;
            sent++;
        }
    }
    EXPECT_EQ(harness.count(Reason::drop_out_of_window), sent - far.size()) << "all but the RSTs";
    for (size_t i = 1; i < pieces(); i++) send({piece(i)});
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(frames_out, pieces());
}

/// Where a blade has the connection, its kernel judges them; they come there as they were sent, and reading
/// goes on.
TEST_F(Segments, NothingFarAwayEndsReadingInPassing) {
    send({piece(0)});
    wait(11'000);  // a blade gets it
    ASSERT_EQ(frames_out, 1u);
    for (const uint32_t offset : {0x7ffffffcu, 0x80000000u, 1u << 20}) {
        const Frame stray = client.segment({1, 2, 3, 4, 5, 6, 7, 8}, offset, kAck | kFin).frame();
        harness.burst(kFront, {stray});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(behind_macs(out[0]), behind_macs(stray));
    }
    for (size_t i = 1; i < pieces(); i++) send({piece(i)});
    for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_move) + harness.count(Reason::steer_home), 1u);
}

// --- it does not: the prefix goes on, the rest is read in passing, the session comes after

TEST_F(Segments, SilenceLetsThePrefixGo) {
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

TEST_F(Segments, FirstOneIsLost) {
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

TEST_F(Segments, LastOneOfFullSizedSegmentsComesFirst) {
    const auto big = client_hello({.name = Harness::name(2)});
    const Frames segments = client.hello(big);
    ASSERT_EQ(segments.size(), 2u) << "what clients send today";
    send({segments[1]});
    EXPECT_EQ(harness.held(), 1u);
    send({segments[0]});
    EXPECT_EQ(stream, big);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
}

TEST_F(Segments, OvertakingNeedsTheCookie) {
    TcpSegment forged = client.segment(cut(hello, kPiece, 2 * kPiece), kPiece);
    forged.ack ^= 0x10000;
    send({forged.frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.count(Reason::steer_midstream), 1u);
}

TEST_F(Segments, LateSegmentCompletesItAndTheSessionFollows) {
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

TEST_F(Segments, MoreThanAnInitialWindowIsReadInPassing) {
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

TEST_F(Segments, TheSameInOneBurst) {
    Frames all;
    for (size_t i = 0; i * 20 < hello.size(); i++) all.push_back(piece(i, 20));
    ASSERT_LE(all.size(), kBurst);
    harness.burst(kFront, all);
    collect();
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u) << "there is no reason to give up what is complete";
}

TEST_F(Segments, OneByteSegments) {
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

TEST_F(Segments, NeverCompletes) {
    send({piece(0)});
    for (int i = 0; i < 50; i++) wait(100'000);
    EXPECT_EQ(frames_out, 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 0u);
    send({piece(1)});
    EXPECT_EQ(harness.count(Reason::flow), 1u) << "the rest finds its flow";
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Segments, ATricklingClientIsNotHeldForLong) {
    for (size_t i = 0; frames_out == 0; i++) {
        ASSERT_LT(i, 12u) << "hello_timeout is 100 ms";
        send({piece(i, 10)});
        wait(9'000);
    }
}

TEST_F(Segments, ResetForgetsIt) {
    send({piece(0), piece(1), client.segment({}, 2 * kPiece, kRst | kAck).frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.count(Reason::drop_rst_cookie), 3u);
    EXPECT_EQ(frames_out, 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Segments, ResetWhileItIsReadInPassing) {
    send({piece(0)});
    wait(11'000);
    send({client.segment({}, kPiece, kRst | kAck).frame()});
    EXPECT_EQ(frames_out, 2u) << "the blade must know";
    for (int i = 0; i < 50; i++) wait(100'000);
    EXPECT_EQ(harness.context().holds_table.kept_segments(), 0u);
}

/// The window of our SYN-ACK is 64 240 bytes: not the client's, and so it ends nothing.
TEST_F(Segments, TooFarAhead) {
    send({piece(0), client.data({1, 2, 3}, 70'000)});
    EXPECT_EQ(frames_out, 0u);
    EXPECT_EQ(harness.count(Reason::drop_out_of_window), 1u);
    for (size_t i = 1; i < pieces(); i++) send({piece(i)});
    EXPECT_EQ(stream, hello);
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
}

TEST_F(Segments, LongerThanTheServiceAllows) {
    send({client.data({22, 3, 1, 0x40, 0, 1, 0, 0xff, 0})});
    EXPECT_EQ(harness.count(Reason::steer_too_long), 1u);
    EXPECT_EQ(frames_out, 1u);
}

TEST_F(Segments, BladeGoesDownWhileItReads) {
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

TEST_F(Segments, FullTableLetsTheOldestGo) {
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

TEST_F(Segments, FullTableStopsReadingBeforeItLetsGo) {
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
