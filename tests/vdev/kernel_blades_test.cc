// SPDX-License-Identifier: Apache-2.0
// Blades are resolved by the kernel; MTUs and VIPs.
#include "tests/vdev/kernel_bench.h"

namespace keyrail {
namespace {

using namespace test;
using testing::HasSubstr;

class KernelBladesTest : public KernelBench {};

TEST_F(KernelBladesTest, BladesAreResolvedAndFollowed) {
    start();
    blades({{5, "10.77.0.15"}, {6, "fd77::16"}, {7, "172.16.0.1"}});
    EXPECT_EQ(blade(5), "");
    EXPECT_EQ(kernel_->unreachable(), std::vector<BladeId>{7});
    // The kernel was asked to resolve them.
    EXPECT_TRUE(
        reaches([] { return output_of("ip neigh show dev back").find("10.77.0.15") != std::string::npos; }));
    ip("neigh replace 10.77.0.15 lladdr 02:00:00:00:00:15 dev back nud reachable");
    ip("neigh replace fd77::16 lladdr 02:00:00:00:00:16 dev back nud reachable");
    EXPECT_TRUE(reaches([&] { return blade(5) == "15@1" && blade(6) == "16@1"; }));
    ip("neigh replace 10.77.0.15 lladdr 02:00:00:00:00:25 dev back nud reachable");
    EXPECT_TRUE(reaches([&] { return blade(5) == "25@1"; }));

    blades({{8, "10.77.0.15"}, {6, "fd77::16"}});  // the same machine under another id
    EXPECT_EQ(blade(5), "");
    EXPECT_EQ(blade(8), "25@1");
    EXPECT_EQ(blade(6), "16@1");
    ip("neigh del 10.77.0.15 dev back");
    EXPECT_TRUE(reaches([&] { return blade(8).empty(); }));
    kernel_->tick();
    EXPECT_TRUE(
        reaches([] { return output_of("ip neigh show dev back").find("10.77.0.15") != std::string::npos; }));
    blades({});
    EXPECT_EQ(blade(6), "");
}

/// Of links, and of routes to blades: what SYN-ACKs and "too big" go by.
TEST_F(KernelBladesTest, MtusAreFollowed) {
    ip("link set back mtu 1400");
    start();
    EXPECT_EQ(shared_.port_mtu[0].load(), 1500u);
    EXPECT_EQ(shared_.port_mtu[1].load(), 1400u) << "was so before the start";
    EXPECT_EQ(shared_.backplane_mtu.load(), 1500u) << "no blade is known";
    blades({{5, "10.77.0.15"}, {6, "fd77::16"}});
    EXPECT_EQ(shared_.backplane_mtu.load(), 1400u);
    ip("link set back mtu 1450");
    EXPECT_TRUE(reaches([&] { return shared_.port_mtu[1] == 1450 && shared_.backplane_mtu == 1450; }));
    ip("route replace 10.77.0.0/24 dev back proto kernel scope link src 10.77.0.1 mtu 1300");
    EXPECT_TRUE(reaches([&] { return shared_.backplane_mtu == 1300; })) << shared_.backplane_mtu.load();
    EXPECT_EQ(shared_.port_mtu[1].load(), 1450u);
    ip("link set front mtu 9000");
    EXPECT_TRUE(reaches([&] { return shared_.port_mtu[0] == 9000; }));
}

/// What has a blade's mark goes to that blade, whatever its address is; what has that of no blade, nowhere.
TEST_F(KernelBladesTest, ChecksHaveAWayToEachBlade) {
    start();
    kernel_->set_vips(std::vector{*parse_ip("198.51.100.1"), *parse_ip("2001:db8:100::1")});
    blades({{5, "10.77.0.15"}, {6, "fd77::16"}});
    ip("neigh replace 10.77.0.15 lladdr 02:00:00:00:00:15 dev back nud reachable");
    const auto way = [](const char* to, uint32_t blade) {
        return output_of(fmt::format("ip route get {} mark {} 2>&1", to, 0x4b520000 + blade));
    };
    EXPECT_TRUE(reaches([&] {
        return way("198.51.100.1", 5).find("via 10.77.0.15 dev back") != std::string::npos &&
               way("2001:db8:100::1", 6).find("via fd77::16 dev back") != std::string::npos &&
               way("2001:db8:100::1", 5).find("via fe80::4b52:5 dev back") != std::string::npos;
    })) << way("198.51.100.1", 5)
        << way("2001:db8:100::1", 6) << way("2001:db8:100::1", 5);
    EXPECT_THAT(way("198.51.100.1", 6), HasSubstr("via inet6 fd77::16 dev back"));
    EXPECT_THAT(output_of("ip -6 neigh show fe80::4b52:5 dev back"),
                HasSubstr("02:00:00:00:00:15 PERMANENT"));
    EXPECT_THAT(way("198.51.100.1", 7), HasSubstr("unreachable"));
    ip("neigh replace 10.77.0.15 lladdr 02:00:00:00:00:25 dev back nud reachable");
    EXPECT_TRUE(reaches([] {
        return output_of("ip -6 neigh show fe80::4b52:5 dev back").find("02:00:00:00:00:25") !=
               std::string::npos;
    }));
    blades({{6, "fd77::16"}});
    EXPECT_TRUE(reaches([&] { return way("198.51.100.1", 5).find("unreachable") != std::string::npos; }));
    EXPECT_EQ(output_of("ip -6 neigh show fe80::4b52:5 dev back"), "");
    EXPECT_THAT(way("198.51.100.1", 6), HasSubstr("fd77::16"));
}

/// Its id stands for another machine now: nothing goes to the old one, wherever the new one is.
TEST_F(KernelBladesTest, ABladeGetsAnotherAddress) {
    ip("neigh replace 10.77.0.15 lladdr 02:00:00:00:00:15 dev back nud reachable");
    ip("neigh replace 10.77.0.16 lladdr 02:00:00:00:00:16 dev back nud reachable");
    start();
    blades({{5, "10.77.0.15"}, {6, "10.77.0.16"}});
    EXPECT_TRUE(reaches([&] { return blade(5) == "15@1" && blade(6) == "16@1"; }));
    blades({{5, "10.77.0.16"}, {6, "172.16.0.1"}});  // the other's; and one that no port is connected to
    EXPECT_TRUE(reaches([&] { return blade(5) == "16@1"; }));
    EXPECT_EQ(blade(6), "");
    blades({{5, "10.77.0.17"}});  // not resolved yet
    EXPECT_EQ(blade(5), "");
    ip("neigh replace 10.77.0.17 lladdr 02:00:00:00:00:17 dev back nud reachable");
    EXPECT_TRUE(reaches([&] { return blade(5) == "17@1"; }));
}

/// The kernel takes NTF_USE as a wish to resolve it anew, and forgets that an entry was permanent.
TEST_F(KernelBladesTest, ABladeWithAPermanentNeighbourKeepsIt) {
    ip("neigh replace 10.77.0.11 lladdr 02:00:00:00:00:0b dev back nud permanent");
    start();
    blades({{1, "10.77.0.11"}});
    EXPECT_TRUE(reaches([&] { return blade(1) == "0b@1"; })) << blade(1);
    EXPECT_THAT(output_of("ip neigh show 10.77.0.11"), HasSubstr("PERMANENT"));
}

TEST_F(KernelBladesTest, StaleNeighboursAreLookedAt) {
    start();
    ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev front nud stale");
    expect("192.0.2.10", "10@0");
    kernel_->tick();
    EXPECT_TRUE(reaches(
        [] { return output_of("ip neigh show 192.0.2.10 dev front").find("STALE") == std::string::npos; }));
}

TEST_F(KernelBladesTest, VipsAreBlackholesWhileTheyAreServed) {
    ip("route add blackhole 198.51.100.99/32 proto 75");  // left by one that was killed
    ip("route add blackhole 198.51.100.98/32");           // the operator's
    start();
    EXPECT_THAT(output_of("ip route show type blackhole"), HasSubstr("198.51.100.99"));
    kernel_->set_vips(std::vector{*parse_ip("198.51.100.1"), *parse_ip("2001:db8:100::1")});
    const auto shown = [] {
        return output_of("ip route show type blackhole; ip -6 route show type blackhole");
    };
    EXPECT_TRUE(reaches([&] { return shown().find("198.51.100.99") == std::string::npos; }));
    EXPECT_THAT(shown(), HasSubstr("198.51.100.1 "));
    EXPECT_THAT(shown(), HasSubstr("2001:db8:100::1 "));
    kernel_->set_vips(std::vector{*parse_ip("198.51.100.2")});
    EXPECT_TRUE(reaches([&] { return shown().find("198.51.100.1 ") == std::string::npos; }));
    EXPECT_THAT(shown(), HasSubstr("198.51.100.2 "));
    ip("route del blackhole 198.51.100.2/32");  // someone flushed the table
    EXPECT_TRUE(reaches([&] { return shown().find("198.51.100.2 ") != std::string::npos; }));
    kernel_.reset();
    EXPECT_THAT(shown(), HasSubstr("198.51.100.2 ")) << "clients' packets come to the kernel now";
    start();
    EXPECT_THAT(shown(), HasSubstr("198.51.100.2 ")) << "and until the first snapshot";
    kernel_->set_vips({});
    EXPECT_TRUE(reaches([&] { return shown().find("198.51.100.2 ") == std::string::npos; }));
    EXPECT_THAT(shown(), HasSubstr("198.51.100.98"));
    ip("route del blackhole 198.51.100.98/32");
}

}  // namespace
}  // namespace keyrail
