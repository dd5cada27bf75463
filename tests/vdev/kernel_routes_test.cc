// SPDX-License-Identifier: Apache-2.0
// Routes, neighbours and VLANs of the kernel become next hops.
#include "tests/vdev/kernel_bench.h"

namespace keyrail {
namespace {

using namespace test;

class KernelRoutesTest : public KernelBench {};

TEST_F(KernelRoutesTest, NeighboursBecomeKnownAndUnknown) {
    ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev front nud reachable");
    start();
    EXPECT_EQ(at("192.0.2.10"), "10@0");  // was there before the start
    EXPECT_EQ(at("192.0.2.11"), "");
    ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev front nud stale");
    ip("neigh replace fd77::11 lladdr 02:00:00:00:00:77 dev back nud reachable");
    expect("192.0.2.11", "11@0");
    expect("fd77::11", "77@1");
    ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:12 dev front nud reachable");
    expect("192.0.2.11", "12@0");
    ip("neigh del 192.0.2.11 dev front");
    expect("192.0.2.11", "");
    ip("neigh replace 192.0.2.10 dev front nud failed");
    expect("192.0.2.10", "");
}

TEST_F(KernelRoutesTest, RoutesFollowTheirGateway) {
    start();
    ip("route add 203.0.113.0/24 via 192.0.2.254");
    ip("-6 route add default via 2001:db8:1::fe");
    kernel_->on_readable();
    EXPECT_EQ(at("203.0.113.5"), "");
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud reachable");
    ip("neigh replace 2001:db8:1::fe lladdr 02:00:00:00:00:f6 dev front nud reachable");
    expect("203.0.113.5", "fe@0");
    expect("2606::1", "f6@0");
    EXPECT_EQ(at("198.51.100.7"), "");
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fd dev front nud reachable");
    expect("203.0.113.5", "fd@0");
    ip("neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev back nud reachable");
    ip("route replace 203.0.113.0/24 via 10.77.0.9");
    expect("203.0.113.5", "09@1");
    ip("route del 203.0.113.0/24");
    expect("203.0.113.5", "");
}

TEST_F(KernelRoutesTest, LowestMetricWins) {
    start();
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud reachable");
    ip("neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev back nud reachable");
    ip("route add 203.0.113.0/24 via 192.0.2.254 metric 200");
    expect("203.0.113.5", "fe@0");
    ip("route add 203.0.113.0/24 via 10.77.0.9 metric 100");
    expect("203.0.113.5", "09@1");
    ip("route del 203.0.113.0/24 metric 100");
    expect("203.0.113.5", "fe@0");
    ip("route add unreachable 203.0.113.5");
    expect("203.0.113.5", "");
    EXPECT_EQ(at("203.0.113.6"), "fe@0");
    ip("route del unreachable 203.0.113.5");
}

TEST_F(KernelRoutesTest, OwnAndForeignDestinationsStayTheKernels) {
    start();
    ip("route add default via 192.0.2.254");
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud reachable");
    expect("8.8.8.8", "fe@0");
    EXPECT_EQ(at("192.0.2.1"), "");
    EXPECT_EQ(at("127.0.0.1"), "");
    EXPECT_EQ(at("192.0.2.255"), "");
    EXPECT_EQ(at("10.77.0.44"), "");
    ip("link add other type veth peer name other-peer");
    ip("link set other up");
    ip("addr add 100.64.0.1/24 dev other");
    ip("neigh replace 100.64.0.2 lladdr 02:00:00:00:00:02 dev other nud reachable");
    expect("100.64.0.2", "");
    ip("link del other");
    expect("100.64.0.2", "fe@0");
}

TEST_F(KernelRoutesTest, NeighboursCountOnlyWhereTheyAreOnLink) {
    start();
    ip("neigh replace 10.9.9.9 lladdr 02:00:00:00:00:99 dev front nud reachable");
    kernel_->on_readable();
    EXPECT_EQ(at("10.9.9.9"), "");
    ip("addr add 10.9.9.1/24 dev front");
    expect("10.9.9.9", "99@0");
    ip("neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev back nud reachable");
    ip("route add 10.9.9.9/32 via 10.77.0.9");
    expect("10.9.9.9", "09@1");
    ip("route del 10.9.9.9/32");
    expect("10.9.9.9", "99@0");
    ip("addr del 10.9.9.1/24 dev front");
    expect("10.9.9.9", "");
}

TEST_F(KernelRoutesTest, LinkLocalGateways) {
    start();
    ip("-6 route add 2001:db8:9::/48 via fe80::9 dev back");
    ip("neigh replace fe80::9 lladdr 02:00:00:00:00:a1 dev front nud reachable");
    ip("neigh replace fe80::9 lladdr 02:00:00:00:00:b2 dev back nud reachable");
    expect("2001:db8:9::1", "b2@1");
    EXPECT_EQ(at("fe80::9"), "");
}

TEST_F(KernelRoutesTest, AnInterfaceThatGoesDownTakesItsRoutesAlong) {
    start();
    ip("route add default via 192.0.2.254");
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud permanent");
    expect("8.8.8.8", "fe@0");
    ip("link set front down");
    expect("8.8.8.8", "");
    ip("link set front up");
    ip("route add default via 192.0.2.254");
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud permanent");
    expect("8.8.8.8", "fe@0");
}

TEST_F(KernelRoutesTest, LostEventsAreFoundAgain) {
    start();
    ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev front nud permanent");
    ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev front nud permanent");
    ip("route add 203.0.113.0/24 via 192.0.2.254");
    expect("203.0.113.5", "fe@0");
    expect("192.0.2.10", "10@0");
    const int small = 2048;
    setsockopt(kernel_->descriptors()[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    // Far more than the buffer holds, and nobody reads; the last two changes are surely lost.
    ASSERT_TRUE(shell("seq 1 200 | sed 's,.*,route add 100.64.&.0/24 via 192.0.2.254,' | ip -batch -"));
    ip("route del 203.0.113.0/24");
    ip("neigh del 192.0.2.10 dev front");
    expect("203.0.113.5", "");
    expect("192.0.2.10", "");
    expect("100.64.200.1", "fe@0");
}

// --- VLANs

TEST_F(KernelRoutesTest, NeighbourBehindAVlanGetsItsTags) {
    constexpr int kVlan = 1000;  // ifindex
    KernelTables tables({ports_.list[0].kernel_ifindex, ports_.list[1].kernel_ifindex}, *routes_);
    const RouteEvent connected{.destination = *parse_prefix("198.18.0.0/24"),
                               .table = RT_TABLE_MAIN,
                               .type = RTN_UNICAST,
                               .ifindex = kVlan};
    const NeighbourKey key{kVlan, *parse_ip("198.18.0.9")};
    const MacAddress mac = {2, 0, 0, 0, 0, 9};
    const auto hop = [&] {
        return routes_->lookup4(*reinterpret_cast<const uint32_t*>(key.address.bytes.data()));
    };
    tables.route(connected);
    tables.neighbour(key, NUD_REACHABLE, &mac);
    EXPECT_FALSE(hop().known()) << "not a link of ours";
    EXPECT_TRUE(tables.link(kVlan, {.port = 1, .tags = 3}));
    EXPECT_FALSE(tables.link(kVlan, {.port = 1, .tags = 3})) << "known";
    tables.route(connected);
    tables.neighbour(key, NUD_REACHABLE, &mac);
    tables.settle();
    EXPECT_EQ(show(hop()), "09@1");
    EXPECT_EQ(hop().tags(), 3);
    tables.neighbour_gone(key);
    tables.route_gone(connected);
    EXPECT_FALSE(hop().known());
    EXPECT_TRUE(tables.link_gone(kVlan));
}

TEST_F(KernelRoutesTest, VlanInterfacesAreFollowed) {
    if (!shell("ip link add link front name front.100 type vlan id 100"))
        GTEST_SKIP() << "this kernel has no VLANs";
    ip("link set front.100 up");
    ip("addr add 198.18.0.1/24 dev front.100");
    ip("neigh replace 198.18.0.9 lladdr 02:00:00:00:00:09 dev front.100 nud reachable");
    start();
    expect("198.18.0.9", "09@0");
    ip("link add link back name back.s type vlan id 7 protocol 802.1ad");
    ip("link add link back.s name back.c type vlan id 8");
    ip("link set back.s up");
    ip("link set back.c up");
    ip("addr add 198.18.1.1/24 dev back.c");
    ip("neigh replace 198.18.1.9 lladdr 02:00:00:00:00:19 dev back.c nud reachable");
    expect("198.18.1.9", "19@1");
    in_addr to{};
    inet_pton(AF_INET, "198.18.0.9", &to);
    EXPECT_EQ(shared_.tag_stacks[routes_->lookup4(to.s_addr).tags()], (TagStack{4, {0x81, 0, 0, 100}}));
    inet_pton(AF_INET, "198.18.1.9", &to);
    EXPECT_EQ(shared_.tag_stacks[routes_->lookup4(to.s_addr).tags()],
              (TagStack{8, {0x88, 0xa8, 0, 7, 0x81, 0, 0, 8}}));
    ip("link del front.100");
    expect("198.18.0.9", "");
}

}  // namespace
}  // namespace keyrail
