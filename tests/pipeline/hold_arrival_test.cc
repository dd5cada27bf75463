// SPDX-License-Identifier: Apache-2.0
// A ClientHello in segments: whatever the network does to them, the blade gets the client's stream in order,
// and the session is where the stream goes.
#include "tests/pipeline/segments.h"

namespace keyrail {
namespace {

using namespace test;

class NotTheClients : public Segments {};

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
TEST_F(NotTheClients, NothingFarAheadOrBehindIsHeld) {
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
TEST_F(NotTheClients, NothingFarAwayEndsReadingInPassing) {
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

}  // namespace
}  // namespace keyrail
