// SPDX-License-Identifier: Apache-2.0
// The workers' route tables: longest match, replacing, erasing, and readers that look up while routes change.
#include <arpa/inet.h>
#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "dataplane/common/address.h"
#include "dataplane/tables/routes.h"
#include "tests/vdev/eal_fixture.h"

namespace keyrail {
namespace {

NextHop hop(uint8_t id, uint8_t port = 0) { return NextHop({2, 0, 0, 0, 0, id}, port); }

class RoutesTest : public testing::Test {
  protected:
    void SetUp() override {
        auto made = Routes::create(4096);
        ASSERT_TRUE(made) << made.error().message;
        routes_ = std::move(*made);
    }

    template <typename Hop>
    bool set(const char* text, const Hop& to) {
        const Prefix prefix = parse_prefix(text)->masked();
        const auto* bytes = prefix.address.bytes.data();
        const auto done = prefix.address.family == AF_INET
                              ? routes_->set4(*reinterpret_cast<const in_addr*>(bytes), prefix.length, to)
                              : routes_->set6(*reinterpret_cast<const in6_addr*>(bytes), prefix.length, to);
        return done.has_value();
    }
    void erase(const char* text) {
        const Prefix prefix = parse_prefix(text)->masked();
        const auto* bytes = prefix.address.bytes.data();
        if (prefix.address.family == AF_INET) {
            routes_->erase4(*reinterpret_cast<const in_addr*>(bytes), prefix.length);
        } else {
            routes_->erase6(*reinterpret_cast<const in6_addr*>(bytes), prefix.length);
        }
    }
    /// Last byte of the MAC; 0 = unknown.
    uint8_t at(const char* text) {
        const IpAddress address = *parse_ip(text);
        const NextHop found = address.family == AF_INET
                                  ? routes_->lookup4(*reinterpret_cast<const uint32_t*>(address.bytes.data()))
                                  : routes_->lookup6(address.bytes.data());
        return found.known() ? found.mac()[5] : 0;
    }

    std::unique_ptr<Routes> routes_;
};

TEST_F(RoutesTest, LongestPrefixWins4) {
    EXPECT_EQ(at("192.0.2.1"), 0);
    ASSERT_TRUE(set("0.0.0.0/0", hop(1)));
    ASSERT_TRUE(set("192.0.2.0/24", hop(2)));
    ASSERT_TRUE(set("192.0.2.128/25", hop(3)));
    ASSERT_TRUE(set("192.0.2.200", hop(4)));
    EXPECT_EQ(at("10.0.0.1"), 1);
    EXPECT_EQ(at("255.255.255.255"), 1);
    EXPECT_EQ(at("192.0.2.1"), 2);
    EXPECT_EQ(at("192.0.2.129"), 3);
    EXPECT_EQ(at("192.0.2.200"), 4);
    EXPECT_EQ(at("192.0.2.201"), 3);
    erase("192.0.2.200");
    EXPECT_EQ(at("192.0.2.200"), 3);
    erase("192.0.2.128/25");
    EXPECT_EQ(at("192.0.2.200"), 2);
    erase("0.0.0.0/0");
    EXPECT_EQ(at("10.0.0.1"), 0);
    EXPECT_EQ(at("192.0.2.200"), 2);
}

TEST_F(RoutesTest, LongestPrefixWins6) {
    ASSERT_TRUE(set("::/0", hop(1)));
    ASSERT_TRUE(set("2001:db8::/32", hop(2)));
    ASSERT_TRUE(set("2001:db8:1::/64", hop(3)));
    ASSERT_TRUE(set("2001:db8:1::10", hop(4)));
    EXPECT_EQ(at("fd00::1"), 1);
    EXPECT_EQ(at("2001:db8:ffff::1"), 2);
    EXPECT_EQ(at("2001:db8:1::11"), 3);
    EXPECT_EQ(at("2001:db8:1::10"), 4);
    erase("2001:db8:1::10");
    EXPECT_EQ(at("2001:db8:1::10"), 3);
    erase("2001:db8:1::/64");
    erase("2001:db8::/32");
    erase("::/0");
    EXPECT_EQ(at("2001:db8:1::10"), 0);
}

TEST_F(RoutesTest, AnUnknownRouteHidesTheOneAround) {
    ASSERT_TRUE(set("0.0.0.0/0", hop(1)));
    ASSERT_TRUE(set("192.0.2.0/24", NextHop{}));
    EXPECT_EQ(at("192.0.2.1"), 0);
    ASSERT_TRUE(set("192.0.2.7", kUnknownHop));
    EXPECT_EQ(at("192.0.2.7"), 0);
    ASSERT_TRUE(set("192.0.2.0/24", hop(5)));
    EXPECT_EQ(at("192.0.2.1"), 5);
    EXPECT_EQ(at("192.0.2.7"), 0);
}

TEST_F(RoutesTest, AGatewayMovesAllItsRoutesAtOnce) {
    const HopId gateway = *routes_->make_hop();
    ASSERT_TRUE(set("10.0.0.0/8", gateway));
    ASSERT_TRUE(set("2001:db8::/32", gateway));
    EXPECT_EQ(at("10.1.1.1"), 0);
    routes_->set_hop(gateway, hop(7));
    EXPECT_EQ(at("10.1.1.1"), 7);
    EXPECT_EQ(at("2001:db8::1"), 7);
    routes_->set_hop(gateway, {});
    EXPECT_EQ(at("10.1.1.1"), 0);
    routes_->set_hop(kUnknownHop, hop(9));  // must not make unknown destinations known
    EXPECT_EQ(at("203.0.113.1"), 0);
}

TEST_F(RoutesTest, HopsOfRoutesAreReused) {
    for (uint32_t i = 0; i < 3u * kMaxHops; ++i)
        ASSERT_TRUE(set("192.0.2.1", hop(static_cast<uint8_t>(1 + i % 200))));
}

// DPDK's own count of groups goes wrong with these and ends at "full": the table must be built anew,
// unharmed.
TEST_F(RoutesTest, ComingAndGoingNeverFillsTheTable) {
    ASSERT_TRUE(set("::/0", hop(1)));
    ASSERT_TRUE(set("2001:db8::/64", hop(2)));
    ASSERT_TRUE(set("2001:db8::7", hop(7)));
    for (int i = 0; i < 4000; ++i) {
        ASSERT_TRUE(set("2001:db8::1", hop(3))) << i;
        erase("2001:db8::1");
    }
    EXPECT_EQ(at("2001:db8::7"), 7);
    EXPECT_EQ(at("2001:db8::1"), 2);
    EXPECT_EQ(at("fd00::1"), 1);

    ASSERT_TRUE(set("0.0.0.0/0", hop(1)));
    ASSERT_TRUE(set("192.0.2.0/24", kUnknownHop));
    ASSERT_TRUE(set("10.0.0.0/8", hop(4)));
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(set("192.0.2.1", kUnknownHop));
        erase("192.0.2.1");
    }
    ASSERT_TRUE(set("192.0.2.10", hop(5)));
    ASSERT_TRUE(set("198.51.100.10", hop(6)));
    EXPECT_EQ(at("192.0.2.10"), 5);
    EXPECT_EQ(at("192.0.2.1"), 0);
    EXPECT_EQ(at("198.51.100.10"), 6);
    EXPECT_EQ(at("10.1.1.1"), 4);
    EXPECT_EQ(at("8.8.8.8"), 1);
}

TEST_F(RoutesTest, SaysWhenHopsRunOut) {
    for (HopId i = 0; i < kMaxHops; ++i) ASSERT_TRUE(routes_->make_hop());
    const auto one_more = routes_->make_hop();
    ASSERT_FALSE(one_more);
    EXPECT_EQ(one_more.error().message, "all 32767 next hops are in use");
}

TEST_F(RoutesTest, SaysWhenTheTableIsFull) {
    Result<void> done;
    uint32_t count = 0;
    for (; done && count < 100000; ++count) done = routes_->set4({htonl(count << 8)}, 32, kUnknownHop);
    ASSERT_FALSE(done);
    EXPECT_GT(count, 1000u);
    EXPECT_EQ(at("203.0.113.1"), 0);
}

// A reader may see the old route or the new one or "unknown", but never another destination's.
TEST(RoutesUnderChange, ReadersNeverSeeAnotherHop) {
    void* memory = std::aligned_alloc(64, (rte_rcu_qsbr_get_memsize(1) + 63) / 64 * 64);
    auto* rcu = static_cast<rte_rcu_qsbr*>(memory);
    rte_rcu_qsbr_init(rcu, 1);
    auto routes = *Routes::create(4096, rcu);
    const uint32_t watched = inet_addr("10.0.0.7");
    ASSERT_TRUE(routes->set4({inet_addr("10.0.0.0")}, 8, hop(1)));

    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0}, reads{0};
    std::thread reader([&] {
        rte_rcu_qsbr_thread_register(rcu, 0);
        rte_rcu_qsbr_thread_online(rcu, 0);
        while (!stop) {
            for (int i = 0; i < 32; ++i) {
                const NextHop found = routes->lookup4(watched);
                if (found.known() && found.mac()[5] != 1 && found.mac()[5] != 2) ++wrong;
                ++reads;
            }
            rte_rcu_qsbr_quiescent(rcu, 0);
        }
        rte_rcu_qsbr_thread_offline(rcu, 0);
        rte_rcu_qsbr_thread_unregister(rcu, 0);
    });
    while (reads == 0) std::this_thread::yield();
    for (uint32_t i = 0; i < 2000; ++i) {
        // The watched route's group of entries is emptied, and the next one takes it for another network.
        EXPECT_TRUE(routes->set4({watched}, 32, hop(2)));
        routes->erase4({watched}, 32);
        const in_addr other{htonl(0x0b000000u + (i % 64) * 256 + 7)};
        EXPECT_TRUE(routes->set4(other, 32, hop(99)));
        routes->erase4(other, 32);
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(reads, 1000u);
    std::free(memory);
}

}  // namespace
}  // namespace keyrail
