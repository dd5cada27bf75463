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
    table.insert(42, Flow(100, 7, 0));
    ASSERT_NE(table.find(42, 100), nullptr);
    EXPECT_EQ(table.find(42, 100)->blade(), 7);
    EXPECT_EQ(table.find(43, 100), nullptr);
    table.insert(42, Flow(101, 8, 0));
    EXPECT_EQ(table.find(42, 101)->blade(), 8);
    EXPECT_EQ(table.size(), 1u);
    table.erase(42);
    EXPECT_EQ(table.find(42, 101), nullptr);
    EXPECT_EQ(table.size(), 0u);
}

/// A blade's TIME_WAIT: 60 s, by a timer that may be an eighth late.
TEST_F(Flows, EndedOnesOutliveTimeWait) {
    Flow* flow = table.insert(42, Flow(100, 7, 5000));
    flow->client_says(kFin | kAck, 100, 5000);
    flow->blade_says(kFin | kAck, 100);
    EXPECT_TRUE(flow->ended());
    EXPECT_GE(FlowTable::kEndedTicks, 69 * kFlowTicks);
    EXPECT_NE(table.find(42, 100 + FlowTable::kEndedTicks), nullptr);
    EXPECT_EQ(table.find(42, 101 + FlowTable::kEndedTicks), nullptr);
}

/// Linux sends the first keep-alive probe after 2 h, three more until 2 h 4 min, wherever in its second of
/// `last_seen` the last packet came.
TEST_F(Flows, IdleOnesOutliveKeepAlives) {
    for (uint32_t phase = 0; phase < kFlowTicks; phase++) {
        table.insert(42, Flow(1000, 7, 0));
        for (uint32_t now = 1000; now <= 1160 + phase; now++) table.find(42, now)->seen(now, 0);
        EXPECT_NE(table.find(42, 1160 + phase + (7200 + 4 * 75) * kFlowTicks), nullptr) << phase;
    }
    table.insert(42, Flow(100, 7, 0));
    EXPECT_NE(table.find(42, 100 + FlowTable::kIdleTicks), nullptr);
    EXPECT_EQ(table.find(42, 101 + FlowTable::kIdleTicks), nullptr);
    EXPECT_NE(table.find(42, 100 + 160, 160), nullptr) << "as long as the service says";
    EXPECT_EQ(table.find(42, 101 + 160, 160), nullptr);
}

/// Who ends a flow: what was said, in this order, and whether the flow is over then.
TEST_F(Flows, EndWhenBothHaveSaidFinOrOneRst) {
    const auto over = [](std::initializer_list<std::pair<char, int>> said) {
        Flow flow(100, 7, 5000);
        for (const auto& [who, flags] : said) {
            if (who == 'c') flow.client_says(static_cast<uint8_t>(flags), 100, 5000);
            if (who == 'b') flow.blade_says(static_cast<uint8_t>(flags), 100);
        }
        return flow.ended();
    };
    EXPECT_FALSE(over({}));
    EXPECT_FALSE(over({{'c', kFin}})) << "half-closed: the answer may take its time";
    EXPECT_FALSE(over({{'c', kFin}, {'c', kFin}})) << "sent again";
    EXPECT_FALSE(over({{'b', kFin}}));
    EXPECT_TRUE(over({{'c', kFin}, {'b', kFin}}));
    EXPECT_TRUE(over({{'b', kFin}, {'c', kFin}}));
    EXPECT_TRUE(over({{'c', kRst}}));
    EXPECT_TRUE(over({{'b', kRst}}));
    EXPECT_TRUE(over({{'b', kFin}, {'c', kRst}}));
}

TEST_F(Flows, TheClientIsBelievedWhereItCanBe) {
    for (const uint32_t at : {0u, 5000u, 0x7fff0000u, 0xffff8000u}) {
        const Seq here = at;
        for (const uint32_t ahead : {0u, 1u, 1460u, 1u << 20, 15u << 20}) {
            EXPECT_TRUE(Flow(0, 7, here).plausible(here + ahead)) << at << " + " << ahead;
            EXPECT_TRUE(ahead > 64 << 10 || Flow(0, 7, here).plausible(here.back(ahead)))
                << at << " - " << ahead;
        }
        for (const uint32_t away : {17u << 20, 1u << 30, 0x7fffffffu, 0x80000000u, 0u - (1u << 20)}) {
            Flow flow(0, 7, here);
            EXPECT_FALSE(flow.plausible(here + away)) << at << " + " << away;
            flow.client_says(kRst, 5, here + away);
            EXPECT_FALSE(flow.client_done);
            EXPECT_EQ(flow.last_seen, 0u);
        }
    }
}

TEST_F(Flows, ItsPlaceFollowsTheClientAndNobodyElse) {
    Flow flow(0, 7, 0);
    Seq seq = 0;
    for (uint32_t now = kFlowTicks; now < 1000 * kFlowTicks; now += kFlowTicks)
        flow.seen(now, seq += 10u << 20);
    EXPECT_TRUE(flow.plausible(seq + 1)) << "10 GiB later, twice round the circle";
    flow.seen(2000 * kFlowTicks, seq + (1u << 30));
    EXPECT_FALSE(flow.plausible(seq + (1u << 30))) << "a stranger cannot bring it elsewhere";
    EXPECT_TRUE(flow.plausible(seq + 1));
}

TEST_F(Flows, TakesThreeQuartersWithoutALoss) {
    std::vector<uint64_t> hashes(256 * 4 * 3 / 4);
    for (auto& h : hashes) {
        h = random();
        table.insert(h, Flow(100, BladeId::or_none(1 + h % 4000), 0));
    }
    EXPECT_EQ(table.evicted(), 0u);
    EXPECT_EQ(table.size(), hashes.size());
    for (const uint64_t h : hashes) {
        ASSERT_NE(table.find(h, 100), nullptr) << "moved to make room for another, and lost";
        EXPECT_EQ(table.find(h, 100)->blade(), 1 + h % 4000);
    }
}

TEST(FullFlowTable, LosesEndedThenHalfClosedThenLongestIdle) {
    std::vector<FlowTable::Bucket> both(2);  // every flow has the same eight places
    FlowTable table(both);
    for (uint64_t flow = 1; flow <= 8; flow++)
        table.insert(flow, Flow(static_cast<uint32_t>(100 + flow), 1, 0));
    EXPECT_EQ(table.evicted(), 0u);
    table.find(4, 110)->client_says(kFin, 110, 0);
    table.find(5, 110)->blade_says(kRst, 110);
    table.insert(9, Flow(110, 1, 0));
    EXPECT_EQ(table.find(5, 110), nullptr) << "the ended one goes first";
    table.insert(10, Flow(110, 1, 0));
    EXPECT_EQ(table.find(4, 110), nullptr) << "then the half-closed one";
    table.insert(11, Flow(110, 1, 0));
    EXPECT_EQ(table.find(1, 110), nullptr) << "then the one that was idle longest";
    EXPECT_NE(table.find(2, 110), nullptr);
    EXPECT_EQ(table.evicted(), 3u);
    EXPECT_EQ(table.size(), 8u);
}

/// Clients by the hundred thousand a second fill it with closed flows: the youngest of them still wait for
/// the acknowledgement of their FIN (seen with keyrail-loadgen: 6 of 2.4 million went to another blade).
TEST(FullFlowTable, TheFlowThatHasJustClosedStays) {
    std::vector<FlowTable::Bucket> both(2);
    FlowTable table(both);
    for (uint64_t flow = 1; flow <= 8; flow++) table.insert(flow, Flow(100, 1, 0));
    for (uint32_t flow = 8; flow >= 1; flow--) table.find(flow, 100)->client_says(kRst, 100 + 8 - flow, 0);
    table.insert(9, Flow(108, 1, 0));
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
    for (uint64_t other = 1; other < 4; other++) table.insert(42 + (other << 8), Flow(100, 1, 0));
    table.insert(42, Flow(100, 7, 0));
    table.erase(42);
    table.insert(42, Flow(100, 8, 0));
    ASSERT_NE(table.find(42, 100), nullptr);
    EXPECT_EQ(table.find(42, 100)->blade(), 8);
}

}  // namespace
}  // namespace keyrail
