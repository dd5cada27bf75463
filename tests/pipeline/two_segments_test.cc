// SPDX-License-Identifier: Apache-2.0
// Today's hello, two segments, in one burst: nothing has to be held.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;
using Frames = std::vector<Frame>;

Frames with(Frames frames, size_t at, const Frame& extra) {
    frames.insert(frames.begin() + static_cast<ptrdiff_t>(at), extra);
    return frames;
}

struct InOneBurst {
    const char* name;
    Frames (*arrive)(const Frames& two, const Client& client, const Frame& other);
    bool whole = true;  // the two need no hold
};

const InOneBurst kBursts[] = {
    {"one_behind_the_other", [](const Frames& two, const Client&, const Frame&) { return two; }},
    {"another_client_between",
     [](const Frames& two, const Client&, const Frame& other) { return with(two, 1, other); }},
    {"more_behind_them",
     [](const Frames& two, const Client& c, const Frame&) { return with(two, 2, c.data({1, 2, 3}, 3000)); }},
    {"the_second_twice", [](const Frames& two, const Client&, const Frame&) { return with(two, 2, two[1]); }},
    {"fin_on_the_second",
     [](const Frames& two, const Client& c, const Frame&) {
         const Headers h = parse_headers(two[1]);
         const std::vector<uint8_t> bytes(two[1].begin() + h.payload, two[1].end());
         return Frames{two[0], c.segment(bytes, static_cast<uint32_t>(h.seq - 5001), kAck | kFin).frame()};
     }},
    {"the_second_first",
     [](const Frames& two, const Client&, const Frame&) { return Frames{two[1], two[0]}; }, false},
    {"the_first_twice", [](const Frames& two, const Client&, const Frame&) { return with(two, 1, two[0]); },
     false},
    {"bare_acknowledgement_between",
     [](const Frames& two, const Client& c, const Frame&) {
         return with(two, 1, c.segment({}, kFullSegment).frame());
     },
     false},
    {"far_away_between",
     [](const Frames& two, const Client& c, const Frame&) {
         return with(two, 1, c.segment({1, 2, 3}, 1u << 20).frame());
     },
     false},
    {"overlapping",
     [](const Frames& two, const Client& c, const Frame&) {
         const Headers h = parse_headers(two[1]);
         std::vector<uint8_t> both(two[0].end() - 50, two[0].end());
         both.insert(both.end(), two[1].begin() + h.payload, two[1].end());
         return Frames{two[0], c.data(both, static_cast<uint32_t>(h.seq - 5001) - 50)};
     },
     false},
};

class TwoSegments : public testing::TestWithParam<std::tuple<InOneBurst, uint32_t>> {};

/// Also where the hold table has no place: who needs none does without.
TEST_P(TwoSegments, InOneBurstGoHomeInOrder) {
    const auto& [row, holds] = GetParam();
    Harness harness{Scene{.holds = holds}};
    Client client(harness, 41000), stranger(harness, 41001);
    client.syn();
    stranger.syn();
    const auto hello = client_hello({.name = Harness::name(2)});
    const Frames two = client.hello(hello);
    ASSERT_EQ(two.size(), 2u);
    const Frame other = stranger.data(client_hello({.name = Harness::name(3), .post_quantum = false}));
    harness.burst(kFront, row.arrive(two, client, other));
    std::vector<uint8_t> stream;
    for (const Frame& frame : harness.wire(kBack)) {
        const Headers h = parse_headers(frame);
        if (h.tuple.source_port != 41000) continue;
        const auto offset = static_cast<size_t>(h.seq - 5001);
        if (offset > hello.size()) continue;
        if (row.whole || holds > 0) {  // otherwise they go on as they came
            ASSERT_LE(offset, stream.size());
        }
        stream.resize(offset);
        stream.insert(stream.end(), frame.begin() + h.payload, frame.begin() + h.payload + h.payload_size);
        if (row.whole || holds > 0) {
            EXPECT_EQ(destination(frame), Harness::blade_mac(2));
        }
    }
    if (row.whole || holds > 0) {
        EXPECT_EQ(stream, hello);
        EXPECT_EQ(harness.count(Reason::steer_hold_full), 0u);
    }
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    harness.expect_conserved();
    // The connection is at one blade for good.
    harness.burst(kFront, {client.data({1}, 5000)});
    const auto later = harness.wire(kBack);
    ASSERT_EQ(later.size(), 1u);
    if (row.whole || holds > 0) {
        EXPECT_EQ(destination(later[0]), Harness::blade_mac(2));
    }
}

INSTANTIATE_TEST_SUITE_P(Table, TwoSegments,
                         testing::Combine(testing::ValuesIn(kBursts), testing::Values(4u, 0u)),
                         [](const auto& row) {
                             return std::string(std::get<0>(row.param).name) +
                                    (std::get<1>(row.param) > 0 ? "" : "_without_holds");
                         });

/// Its client resets it, or uses the port for a new connection, in the same burst: nobody waits for the rest.
TEST(HalfAHello, ThatIsGivenUpInItsBurstIsNotKept) {
    Harness harness;
    Client client(harness, 41000);
    client.syn();
    const Frames two = client.hello(client_hello({.name = Harness::name(2)}));
    harness.burst(kFront, {two[0], client.segment({}, kFullSegment, kRst | kAck).frame()});
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    EXPECT_EQ(harness.wire(kBack).size(), 0u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
