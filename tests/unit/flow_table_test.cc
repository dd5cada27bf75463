// SPDX-License-Identifier: Apache-2.0
// The flow table and the hash that finds flows in it.
#include "dataplane/flow/flow_table.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "dataplane/flow/flow_hash.h"
#include "tests/support/frames.h"

namespace keyrail {
namespace {

struct Flows : testing::Test {
    std::vector<FlowTable::Bucket> buckets = std::vector<FlowTable::Bucket>(256);
    FlowTable table{buckets};
    std::mt19937_64 random{1};
};

TEST_F(Flows, RemembersItsBlade) {
    table.insert(42, 7, 100);
    ASSERT_NE(table.find(42, 100), nullptr);
    EXPECT_EQ(table.find(42, 100)->blade, 7);
    EXPECT_EQ(table.find(43, 100), nullptr);
    table.insert(42, 8, 101);
    EXPECT_EQ(table.find(42, 101)->blade, 8);
    EXPECT_EQ(table.size(), 1u);
    table.erase(42);
    EXPECT_EQ(table.find(42, 101), nullptr);
    EXPECT_EQ(table.size(), 0u);
}

TEST_F(Flows, ClosedOnesStayAMinute) {
    table.insert(42, 7, 100)->closed = 1;
    EXPECT_NE(table.find(42, 100 + FlowTable::kClosedTicks), nullptr);
    EXPECT_EQ(table.find(42, 101 + FlowTable::kClosedTicks), nullptr);
}

TEST_F(Flows, IdleOnesExpire) {
    table.insert(42, 7, 100);
    EXPECT_NE(table.find(42, 100 + FlowTable::kIdleTicks), nullptr);
    EXPECT_EQ(table.find(42, 101 + FlowTable::kIdleTicks), nullptr);
}

TEST_F(Flows, TakesThreeQuartersWithoutALoss) {
    std::vector<uint64_t> hashes(256 * 4 * 3 / 4);
    for (auto& h : hashes) {
        h = random();
        table.insert(h, static_cast<uint16_t>(1 + h % 4000), 100);
    }
    EXPECT_EQ(table.evicted(), 0u);
    EXPECT_EQ(table.size(), hashes.size());
    for (const uint64_t h : hashes) {
        ASSERT_NE(table.find(h, 100), nullptr) << "moved to make room for another, and lost";
        EXPECT_EQ(table.find(h, 100)->blade, 1 + h % 4000);
    }
}

TEST(FullFlowTable, LosesClosedThenLongestIdle) {
    std::vector<FlowTable::Bucket> both(2);  // every flow has the same eight places
    FlowTable table(both);
    for (uint64_t flow = 1; flow <= 8; flow++) table.insert(flow, 1, static_cast<uint32_t>(100 + flow));
    EXPECT_EQ(table.evicted(), 0u);
    table.find(5, 110)->closed = 1;
    table.insert(9, 1, 110);
    EXPECT_EQ(table.find(5, 110), nullptr) << "the closed one goes first";
    table.insert(10, 1, 110);
    EXPECT_EQ(table.find(1, 110), nullptr) << "then the one that was idle longest";
    EXPECT_NE(table.find(2, 110), nullptr);
    EXPECT_EQ(table.evicted(), 2u);
    EXPECT_EQ(table.size(), 8u);
}

/// Clients by the hundred thousand a second fill it with closed flows: the youngest of them still wait for
/// the acknowledgement of their FIN (seen with keyrail-loadgen: 6 of 2.4 million went to another blade).
TEST(FullFlowTable, TheFlowThatHasJustClosedStays) {
    std::vector<FlowTable::Bucket> both(2);
    FlowTable table(both);
    for (uint64_t flow = 1; flow <= 8; flow++) table.insert(flow, 1, 100);
    for (uint32_t flow = 8; flow >= 1; flow--) table.find(flow, 100)->close(100 + 8 - flow);
    table.insert(9, 1, 108);
    EXPECT_EQ(table.find(8, 108), nullptr) << "it closed first, within the same second as the others";
    EXPECT_NE(table.find(1, 108), nullptr);
}

/// By version: of IPv4 the addresses' first 12 bytes are always the same.
class FlowHashTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ipv6, FlowHashTest, testing::Bool());

TEST_P(FlowHashTest, KeyedAndDependsOnEveryByte) {
    const FlowHash a(1), b(2);
    Headers h;
    h.ipv6 = GetParam();
    h.tuple = {test::address("192.0.2.1"), test::address("198.51.100.1"), 1, 443};
    EXPECT_NE(a(h), b(h));
    std::set<uint64_t> seen;
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof h.tuple; i++) {
        if (!h.ipv6 && i < 32 && i % 16 < 12) continue;
        Headers other = h;
        reinterpret_cast<uint8_t*>(&other.tuple)[i] ^= 1;
        seen.insert(a(other));
        bytes++;
    }
    EXPECT_EQ(seen.size(), bytes);
}

TEST_F(Flows, AnErasedOneDoesNotHideItsNextEntry) {
    for (uint64_t other = 1; other < 4; other++) table.insert(42 + (other << 8), 1, 100);
    table.insert(42, 7, 100);
    table.erase(42);
    table.insert(42, 8, 100);
    ASSERT_NE(table.find(42, 100), nullptr);
    EXPECT_EQ(table.find(42, 100)->blade, 8);
}

}  // namespace
}  // namespace keyrail
