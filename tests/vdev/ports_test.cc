// SPDX-License-Identifier: Apache-2.0
// Ports: devices and TAPs are made with one MAC, carry frames, and are gone afterwards; mistakes are
// explained.
#include <gmock/gmock.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <chrono>
#include <cstring>

#include "dataplane/io/ports.h"
#include "dataplane/link/kernel_setup.h"
#include "tests/vdev/eal_fixture.h"

namespace keyrail {
namespace {

using testing::HasSubstr;

Profile profile_with(std::vector<PortProfile> ports) {
    Profile profile;
    profile.file = "test.toml";
    profile.mbufs = 8192;
    profile.poll = PollMode::adaptive;
    profile.ports = std::move(ports);
    return profile;
}

PortProfile ring_port(const char* device, const char* tap) {
    return {.name = device,
            .role = "front",
            .device = device,
            .kernel_interface = tap,
            .mac = "02:00:00:00:00:01"};
}

TEST(Ports, HaveATapWithTheMacOfTheWire) {
    ASSERT_TRUE(test::shell("ip link add wire type veth peer name far"));
    auto ports = open_ports(profile_with({{.name = "f",
                                           .role = "front",
                                           .device = "net_af_packet0,iface=wire",
                                           .kernel_interface = "kfront"}}),
                            1);
    ASSERT_TRUE(ports) << ports.error().message;
    const Port& port = ports->list.at(0);
    EXPECT_EQ(port.role, PortRole::front);
    EXPECT_EQ(port.queues, 1);
    EXPECT_EQ(port.wire_interface, "wire");
    EXPECT_EQ(port.kernel_ifindex, static_cast<int>(if_nametoindex("kfront")));
    EXPECT_TRUE(
        test::shell("m=$(ip -br link show wire | awk '{print $3}'); ip link show kfront | grep ether.$m"));
    rte_ether_addr mac;
    rte_eth_macaddr_get(port.device, &mac);
    EXPECT_EQ(std::memcmp(mac.addr_bytes, port.mac.data(), port.mac.size()), 0);
    close_ports(*ports);
    EXPECT_EQ(if_nametoindex("kfront"), 0u);
    EXPECT_TRUE(test::shell("ip link del wire"));
}

TEST(Ports, FramesOfTheKernelArriveAtTheTap) {
    const Profile profile =
        profile_with({{.name = "r",
                       .role = "front",
                       .device = "net_ring0",
                       .kernel_interface = "k0",
                       .mac = "02:00:00:00:00:02",
                       .addresses = {"192.0.2.1/24", "2001:db8:1::1/64"},
                       .routes = {"203.0.113.0/24 via 192.0.2.9", "default via 2001:db8:1::9"}}});
    auto ports = open_ports(profile, 1);
    ASSERT_TRUE(ports) << ports.error().message;
    const auto set_up = set_up_kernel(profile, *ports);
    ASSERT_TRUE(set_up) << set_up.error().message;
    EXPECT_TRUE(test::shell("ip route get 203.0.113.1 | grep 'via 192.0.2.9 dev k0'"));
    EXPECT_TRUE(test::shell("ip -6 route get 2606::1 | grep 'via 2001:db8:1::9 dev k0'"));
    EXPECT_TRUE(test::shell("ip -6 addr show dev k0 | grep 2001:db8:1::1/64 | grep -v tentative"));
    EXPECT_TRUE(
        test::shell("grep 1 /proc/sys/net/ipv4/ip_forward && grep 0 /proc/sys/net/ipv4/conf/k0/rp_filter"));

    EXPECT_FALSE(test::shell("ping -c1 -W0.2 192.0.2.77"));  // makes the kernel ask for it
    bool asked = false;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    while (!asked && std::chrono::steady_clock::now() < limit) {
        rte_mbuf* mbufs[32];
        const uint16_t count = rte_eth_rx_burst(ports->list[0].kernel, 0, mbufs, 32);
        for (uint16_t i = 0; i < count; ++i) {
            const auto* ether = rte_pktmbuf_mtod(mbufs[i], const rte_ether_hdr*);
            asked |= ether->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP);
            rte_pktmbuf_free(mbufs[i]);
        }
    }
    EXPECT_TRUE(asked);
    close_ports(*ports);
}

TEST(Ports, MistakesAreExplainedAndLeaveNothing) {
    const std::pair<PortProfile, const char*> mistakes[] = {
        {ring_port("net_nonsense0", "k0"), "port net_nonsense0 (net_nonsense0): DPDK does not take"},
        {{.name = "x", .role = "back", .device = "net_af_xdp7,iface=missing", .kernel_interface = "k0"},
         "interface 'missing' cannot be brought up: No such device"},
        {ring_port("net_ring3", "lo"), "there is an interface 'lo' already"},
        {{.name = "p", .role = "back", .device = "0000:ff:1f.7", .kernel_interface = "k0"}, "vfio-pci"},
    };
    for (const auto& [port, message] : mistakes) {
        const auto ports = open_ports(profile_with({ring_port("net_ring2", "k9"), port}), 1);
        ASSERT_FALSE(ports);
        EXPECT_THAT(ports.error().message, HasSubstr(message));
        EXPECT_EQ(if_nametoindex("k9"), 0u);
    }
    PortProfile nameless = ring_port("net_ring4", "k8");
    nameless.mac.clear();
    EXPECT_THAT(open_ports(profile_with({nameless}), 1).error().message, HasSubstr("give the port a 'mac'"));
    Profile large = profile_with({ring_port("net_ring2", "k9")});
    large.mbufs = 1u << 22;
    EXPECT_THAT(open_ports(large, 1).error().message,
                HasSubstr("raise memory.megabytes or lower memory.mbufs"));
}

TEST(Ports, QueuesThatNobodyWouldPollAreRefused) {
    ASSERT_TRUE(test::shell("ip link add wire type veth peer name far"));
    const auto ports = open_ports(profile_with({{.name = "f",
                                                 .role = "front",
                                                 .device = "net_af_packet1,iface=wire,qpairs=2",
                                                 .kernel_interface = "k"}}),
                                  1);
    ASSERT_FALSE(ports);
    EXPECT_THAT(ports.error().message, HasSubstr("it has 2 queues for 1 workers"));
    EXPECT_TRUE(test::shell("ip link del wire"));
}

}  // namespace
}  // namespace keyrail
