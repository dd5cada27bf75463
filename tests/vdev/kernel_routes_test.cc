// SPDX-License-Identifier: Apache-2.0
// The kernel's tables as the workers see them: real netlink in a network namespace of the test's own. The
// TAPs are played by veth ends, the neighbours are entered by hand.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <functional>

#include "dataplane/link/kernel_routes.h"
#include "dataplane/link/kernel_tables.h"
#include "tests/vdev/eal_fixture.h"

namespace keyrail {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string output_of(const std::string& command) {
    std::string text;
    std::array<char, 512> part;
    FILE* pipe = popen(command.c_str(), "r");
    while (fgets(part.data(), part.size(), pipe) != nullptr) text += part.data();
    pclose(pipe);
    return text;
}

/// "" = unknown, otherwise "<last byte of the MAC>@<port>".
std::string show(const NextHop& hop) {
    return !hop.known() ? "" : fmt::format("{:02x}@{}", hop.mac()[5], hop.port());
}

class KernelRoutesTest : public testing::Test {
  protected:
    void SetUp() override {
        ip("link add front type veth peer name front-peer");
        ip("link add back type veth peer name back-peer");
        for (const char* name : {"lo", "front", "front-peer", "back", "back-peer"})
            ip(fmt::format("link set {} up", name));
        ip("addr add 192.0.2.1/24 dev front");
        ip("addr add 2001:db8:1::1/64 dev front nodad");
        ip("addr add 10.77.0.1/24 dev back");
        ip("addr add fd77::1/64 dev back nodad");
        for (const char* name : {"front", "back"}) {
            Port port{};
            port.name = name;
            port.kernel_ifindex = static_cast<int>(if_nametoindex(name));
            ports_.list.push_back(port);
        }
        routes_ = std::move(*Routes::create(4096));
        shared_.routes = routes_.get();
    }
    void TearDown() override {
        kernel_.reset();
        ip("link del front");
        ip("link del back");
        shell("ip route flush proto 75; ip -6 route flush proto 75");
    }

    void start() {
        auto started = KernelRoutes::start(ports_, shared_);
        ASSERT_TRUE(started) << started.error().message;
        kernel_ = std::move(*started);
    }
    static bool shell(const std::string& command) { return test::shell(command); }
    static void ip(const std::string& arguments) {
        ASSERT_TRUE(shell("ip " + arguments)) << "ip " << arguments;
    }

    /// Handles events until `good` holds or three seconds have passed.
    bool reaches(const std::function<bool()>& good) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(3);
        while (!good()) {
            if (std::chrono::steady_clock::now() > limit) return false;
            const auto descriptors = kernel_->descriptors();
            pollfd wait[2] = {{descriptors[0], POLLIN, 0}, {descriptors[1], POLLIN, 0}};
            poll(wait, 2, 20);
            kernel_->on_readable();
        }
        return true;
    }
    std::string at(const char* text) {
        const IpAddress address = *parse_ip(text);
        return show(address.family == AF_INET
                        ? routes_->lookup4(*reinterpret_cast<const uint32_t*>(address.bytes.data()))
                        : routes_->lookup6(address.bytes.data()));
    }
    void expect(const char* address, const char* hop) {
        EXPECT_TRUE(reaches([&] { return at(address) == hop; }))
            << address << ": wanted '" << hop << "', found '" << at(address) << "'";
    }
    void blades(const std::vector<std::pair<uint16_t, const char*>>& list) {
        std::vector<BladeAddress> addresses;
        for (const auto& [id, address] : list) addresses.push_back({BladeId(id), *parse_ip(address)});
        kernel_->set_blades(addresses);
    }
    std::string blade(uint16_t id) { return show(shared_.blade_hop[id].load()); }

    Ports ports_;
    Shared shared_;
    std::unique_ptr<Routes> routes_;
    std::unique_ptr<KernelRoutes> kernel_;
};

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

TEST_F(KernelRoutesTest, BladesAreResolvedAndFollowed) {
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
TEST_F(KernelRoutesTest, MtusAreFollowed) {
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

/// Its id stands for another machine now: nothing goes to the old one, wherever the new one is.
TEST_F(KernelRoutesTest, ABladeGetsAnotherAddress) {
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
TEST_F(KernelRoutesTest, ABladeWithAPermanentNeighbourKeepsIt) {
    ip("neigh replace 10.77.0.11 lladdr 02:00:00:00:00:0b dev back nud permanent");
    start();
    blades({{1, "10.77.0.11"}});
    EXPECT_TRUE(reaches([&] { return blade(1) == "0b@1"; })) << blade(1);
    EXPECT_THAT(output_of("ip neigh show 10.77.0.11"), HasSubstr("PERMANENT"));
}

TEST_F(KernelRoutesTest, StaleNeighboursAreLookedAt) {
    start();
    ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev front nud stale");
    expect("192.0.2.10", "10@0");
    kernel_->tick();
    EXPECT_TRUE(reaches(
        [] { return output_of("ip neigh show 192.0.2.10 dev front").find("STALE") == std::string::npos; }));
}

TEST_F(KernelRoutesTest, VipsAreBlackholesWhileTheyAreServed) {
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
