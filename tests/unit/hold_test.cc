// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/hold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace keyrail {
namespace {

constexpr uint32_t kBase = 0xfffffff0;  // the stream wraps around

/// The table never looks into an mbuf: numbers do.
rte_mbuf* mbuf(uintptr_t n) { return reinterpret_cast<rte_mbuf*>(n); }

struct HoldTest : testing::Test {
    HoldTable table{4, 64};
    std::vector<uint8_t> stream = [] {
        std::vector<uint8_t> bytes(600);
        std::iota(bytes.begin(), bytes.end(), uint8_t{0});
        return bytes;
    }();

    uint32_t open(uint64_t hash = 1, uint64_t deadline = 1000) {
        return table.open(hash, {}, kBase, deadline);
    }
    AddResult add(uint32_t slot, uint32_t from, uint32_t size, uintptr_t id = 1, bool fin = false) {
        return table.add(slot, mbuf(id), kBase + from, Bytes(stream).subspan(from, size), fin);
    }
    std::vector<uint8_t> assembled(uint32_t slot) {
        std::vector<uint8_t> out(stream.size());
        const Bytes bytes = table.assemble(slot, out);
        return {bytes.begin(), bytes.end()};
    }
    std::vector<uintptr_t> release(uint32_t slot) {
        std::vector<uintptr_t> ids;
        table.release(slot, [&](rte_mbuf* m, bool) { ids.push_back(reinterpret_cast<uintptr_t>(m)); });
        return ids;
    }
    std::vector<uint8_t> prefix(size_t n) {
        return {stream.begin(), stream.begin() + static_cast<ptrdiff_t>(n)};
    }
};

TEST_F(HoldTest, InOrderAcrossTheSequenceWrap) {
    const uint32_t slot = open();
    EXPECT_EQ(add(slot, 0, 10, 1), AddResult::added);
    EXPECT_EQ(add(slot, 10, 20, 2), AddResult::added);
    EXPECT_EQ(table.at(slot).reached, 30u);
    EXPECT_EQ(assembled(slot), prefix(30));
    EXPECT_EQ(release(slot), (std::vector<uintptr_t>{1, 2}));
    EXPECT_EQ(table.held_segments(), 0u);
}

TEST_F(HoldTest, OutOfOrderIsReleasedInOrder) {
    const uint32_t slot = open();
    add(slot, 20, 10, 3);
    add(slot, 0, 10, 1);
    EXPECT_EQ(table.at(slot).reached, 10u);
    add(slot, 10, 10, 2);
    EXPECT_EQ(table.at(slot).reached, 30u);
    EXPECT_EQ(assembled(slot), prefix(30));
    EXPECT_EQ(release(slot), (std::vector<uintptr_t>{1, 2, 3}));
}

TEST_F(HoldTest, InTwoPieces) {
    Bytes first, second;
    const uint32_t slot = open();
    EXPECT_FALSE(table.in_two_pieces(slot, first, second));
    add(slot, 20, 30, 2);
    EXPECT_FALSE(table.in_two_pieces(slot, first, second));
    add(slot, 0, 20, 1);
    ASSERT_TRUE(table.in_two_pieces(slot, first, second));
    EXPECT_EQ(first.data(), stream.data());
    EXPECT_EQ(first.size(), 20u);
    EXPECT_EQ(second.data(), &stream[20]);
    EXPECT_EQ(second.size(), 30u);
    add(slot, 50, 1, 3);
    EXPECT_FALSE(table.in_two_pieces(slot, first, second)) << "three";

    const uint32_t overlapping = open(2);
    add(overlapping, 0, 20);
    add(overlapping, 10, 20);
    EXPECT_FALSE(table.in_two_pieces(overlapping, first, second));
    const uint32_t gap = open(3);
    add(gap, 0, 20);
    add(gap, 30, 20);
    EXPECT_FALSE(table.in_two_pieces(gap, first, second));
    const uint32_t early = open(4);  // begins before the stream that is looked at
    table.add(early, mbuf(1), kBase - 5, Bytes(stream).first(20), false);
    table.add(early, mbuf(2), kBase + 15, Bytes(stream).first(20), false);
    EXPECT_FALSE(table.in_two_pieces(early, first, second));
}

TEST_F(HoldTest, CopiesAreSeen) {
    const uint32_t slot = open();
    add(slot, 0, 30, 1);
    EXPECT_EQ(add(slot, 0, 30, 2), AddResult::duplicate);
    EXPECT_EQ(add(slot, 5, 10, 2), AddResult::duplicate);
    EXPECT_EQ(add(slot, 25, 10, 3), AddResult::added) << "overlaps, but brings five new bytes";
    EXPECT_EQ(assembled(slot), prefix(35));
    EXPECT_EQ(table.add(slot, mbuf(4), kBase - 1, Bytes(stream).first(1), false), AddResult::duplicate)
        << "keep-alive";
}

TEST_F(HoldTest, FinKeepsItsPlace) {
    const uint32_t slot = open();
    add(slot, 0, 10, 1);
    EXPECT_EQ(add(slot, 10, 0, 2, true), AddResult::added);
    EXPECT_EQ(add(slot, 10, 0, 3, true), AddResult::duplicate);
    EXPECT_EQ(release(slot), (std::vector<uintptr_t>{1, 2}));
}

TEST_F(HoldTest, BoundedInBytesSegmentsAndHolds) {
    const uint32_t slot = open(1);
    for (const uint32_t far :
         {kHelloMax, 0x7ffffffcu, 0x7fffffffu, 0x80000000u, 0x80000001u, 0u - kHelloMax - 1})
        for (const bool fin : {false, true})
            EXPECT_EQ(table.add(slot, mbuf(1), kBase + far, Bytes(stream).first(8), fin),
                      AddResult::out_of_window)
                << far;
    for (uint32_t i = 0; i < 64; i++) ASSERT_EQ(add(slot, 2 * i, 1, i), AddResult::added);
    EXPECT_EQ(add(slot, 200, 1), AddResult::no_segment);
    for (uint64_t hash = 2; hash <= 4; hash++) EXPECT_NE(open(hash), kNone);
    EXPECT_EQ(open(5), kNone);
    EXPECT_EQ(table.oldest(), slot);
    EXPECT_NE(table.oldest(slot), slot);
    EXPECT_EQ(release(slot).size(), 64u);
    EXPECT_NE(open(5), kNone);
}

TEST_F(HoldTest, OneClientCannotTakeEverything) {
    HoldTable big(1, 2 * kHoldSegments);
    const uint32_t slot = big.open(1, {}, kBase, 1000);
    AddResult result = AddResult::added;
    uint32_t added = 0;
    for (; result == AddResult::added; added++)
        result = big.add(slot, mbuf(1), kBase + 2 * added, Bytes(stream).first(1), false);
    EXPECT_EQ(result, AddResult::too_many);
    EXPECT_EQ(added, kHoldSegments + 1u);
}

TEST_F(HoldTest, WhatIsMovingIsNotTheOldest) {
    const uint32_t first = open(1), second = open(2);
    table.start_moving(first, 7, 5000);
    EXPECT_EQ(table.oldest(), second);
    release(second);
    EXPECT_EQ(table.oldest(), kNone);
    release(first);
    EXPECT_EQ(table.in_use(), 0u);
}

TEST_F(HoldTest, PassedOnSegmentsAreStillRead) {
    const uint32_t slot = open();
    add(slot, 10, 10, 2);
    add(slot, 0, 10, 1);
    std::vector<uintptr_t> sent;
    const auto send = [&](rte_mbuf* m) { sent.push_back(reinterpret_cast<uintptr_t>(m)); };
    table.pass_on(slot, send);
    EXPECT_EQ(sent, (std::vector<uintptr_t>{1, 2}));
    add(slot, 20, 10, 3);
    table.latest_sent();
    add(slot, 30, 10, 4);
    EXPECT_EQ(table.held_segments(), 1u);
    EXPECT_EQ(table.kept_segments(), 4u);
    EXPECT_EQ(assembled(slot), prefix(40));
    std::vector<std::pair<uintptr_t, bool>> released;
    table.release(slot, [&](rte_mbuf* m, bool was_sent) {
        released.emplace_back(reinterpret_cast<uintptr_t>(m), was_sent);
    });
    EXPECT_EQ(released,
              (std::vector<std::pair<uintptr_t, bool>>{{1, true}, {2, true}, {3, true}, {4, false}}));
    EXPECT_EQ(table.held_segments(), 0u);
    EXPECT_EQ(table.kept_segments(), 0u);
}

TEST_F(HoldTest, FindsByTupleNotByHashAlone) {
    Tuple other;
    other.source_port = 7;
    const uint32_t slot = open(9);
    EXPECT_EQ(table.find(9, {}), slot);
    EXPECT_EQ(table.find(9, other), kNone);
    const uint32_t second = table.open(9, other, kBase, 1000);
    EXPECT_EQ(table.find(9, other), second);
    release(slot);
    EXPECT_EQ(table.find(9, {}), kNone);
    EXPECT_EQ(table.find(9, other), second);
}

TEST_F(HoldTest, ExpiresEachAtItsTime) {
    const auto late_at = [&](uint64_t now) {
        std::vector<uint32_t> late;
        table.expire(now, [&](uint32_t s) {
            late.push_back(s);
            release(s);
        });
        return late;
    };
    const uint64_t start = 5'000'000;
    EXPECT_TRUE(late_at(start).empty());
    const uint32_t soon = open(1, start + 1'000), later = open(2, start + 900'000),
                   moved = open(3, start + 2'000);
    table.set_deadline(moved, start + 1'500);
    EXPECT_TRUE(late_at(start + 900).empty());
    EXPECT_EQ(late_at(start + 1'001), std::vector<uint32_t>{soon});
    EXPECT_EQ(late_at(start + 1'500), std::vector<uint32_t>{moved});
    EXPECT_TRUE(late_at(start + 500'000).empty());
    EXPECT_EQ(late_at(start + 10'000'000), std::vector<uint32_t>{later});
    EXPECT_EQ(table.in_use(), 0u);
}

TEST_F(HoldTest, GenerationChangesWithEveryUse) {
    const uint32_t slot = open();
    const uint32_t generation = table.at(slot).generation;
    release(slot);
    EXPECT_EQ(open(), slot);
    EXPECT_NE(table.at(slot).generation, generation);
}

TEST_F(HoldTest, AnyShuffleWithCopiesGivesTheStream) {
    std::mt19937 engine(7);
    const auto random = [&](uint32_t below) { return static_cast<uint32_t>(engine() % below); };
    for (int round = 0; round < 500; round++) {
        std::vector<std::pair<uint32_t, uint32_t>> pieces;
        for (uint32_t at = 0; at < stream.size();) {
            const uint32_t size =
                std::min<uint32_t>(static_cast<uint32_t>(stream.size()) - at, 15 + random(60));
            pieces.emplace_back(at, size);
            at += size - (size > 15 ? random(10) : 0);  // some overlap
            if (pieces.back().first + size >= stream.size()) break;
        }
        pieces.push_back(pieces[random(static_cast<uint32_t>(pieces.size()))]);
        std::ranges::shuffle(pieces, engine);
        const uint32_t slot = open();
        for (const auto& [at, size] : pieces) ASSERT_LE(add(slot, at, size), AddResult::duplicate);
        ASSERT_EQ(table.at(slot).reached, stream.size());
        ASSERT_EQ(assembled(slot), stream);
        release(slot);
    }
}

}  // namespace
}  // namespace keyrail
