// SPDX-License-Identifier: Apache-2.0
// One packet in, one verdict out: where it went, and which counter says why.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"

namespace keyrail {
namespace {

using namespace test;

struct PacketRow {
    const char* name;
    uint8_t port;
    Frame (*frame)();
    Reason reason;
    enum { kNowhere, kFrontWire, kBackWire, kFrontKernel, kBackKernel } out;
};

Frame udp_to_vip() {
    Frame f = TcpSegment{}.frame();
    f[23] = 17;
    return f;
}
Frame arp() {
    Frame f = TcpSegment{}.frame();
    store16(&f[12], 0x0806);
    return f;
}
Frame fragment() {
    Frame f = TcpSegment{}.frame();
    f[20] = 0x20;
    return f;
}

const PacketRow kPacketRows[] = {
    {"arp_goes_to_the_kernel", kFront, arp, Reason::punt_not_service, PacketRow::kFrontKernel},
    {"udp_to_the_vip_is_refused", kFront, udp_to_vip, Reason::refused_icmp, PacketRow::kFrontWire},
    {"other_port_is_refused", kFront, [] { return TcpSegment{.destination_port = 80}.frame(); },
     Reason::refused_reset, PacketRow::kFrontWire},
    {"other_address_goes_to_the_kernel", kFront,
     [] { return TcpSegment{.destination = "192.0.2.1"}.frame(); }, Reason::punt_not_service,
     PacketRow::kFrontKernel},
    {"fragment_to_the_vip", kFront, fragment, Reason::drop_fragment, PacketRow::kNowhere},
    {"truncated", kFront, cut_short, Reason::drop_truncated, PacketRow::kNowhere},
    {"syn_is_answered", kFront, [] { return TcpSegment{.flags = kSyn}.frame(); }, Reason::syn_cookie,
     PacketRow::kFrontWire},
    {"syn_over_ipv6_is_answered", kFront,
     [] { return TcpSegment{.source = "2001:db8:1::10", .destination = kVip6, .flags = kSyn}.frame(); },
     Reason::syn_cookie, PacketRow::kFrontWire},
    {"unknown_ack_goes_to_a_blade", kFront, [] { return TcpSegment{.ack = 77}.frame(); },
     Reason::steer_midstream, PacketRow::kBackWire},
    {"unknown_data_goes_to_a_blade", kFront, [] { return TcpSegment{.ack = 77, .payload = {1, 2}}.frame(); },
     Reason::steer_midstream, PacketRow::kBackWire},
    {"unknown_rst_goes_to_a_blade", kFront, [] { return TcpSegment{.flags = kRst}.frame(); },
     Reason::steer_midstream, PacketRow::kBackWire},
    {"from_a_blade_to_its_client", kBack, [] { return from_blade("192.0.2.10"); }, Reason::returned,
     PacketRow::kFrontWire},
    {"to_a_client_whose_hop_is_unknown", kBack, [] { return from_blade("192.0.2.99"); },
     Reason::punt_unresolved, PacketRow::kBackKernel},
    {"the_blade_itself_talks_to_the_kernel", kBack,
     [] { return TcpSegment{.source = "10.77.0.11", .destination = "10.77.0.1"}.frame(); },
     Reason::punt_not_service, PacketRow::kBackKernel},
    {"arp_of_a_blade", kBack, arp, Reason::punt_not_service, PacketRow::kBackKernel},
};

class OnePacket : public testing::TestWithParam<PacketRow> {};

TEST_P(OnePacket, GetsItsVerdict) {
    const PacketRow& row = GetParam();
    Harness harness;
    harness.burst(row.port, {row.frame()});
    EXPECT_EQ(harness.count(row.reason), 1u);
    EXPECT_EQ(harness.wire(kFront).size(), row.out == PacketRow::kFrontWire ? 1u : 0u);
    EXPECT_EQ(harness.wire(kBack).size(), row.out == PacketRow::kBackWire ? 1u : 0u);
    EXPECT_EQ(harness.kernel(kFront).size(), row.out == PacketRow::kFrontKernel ? 1u : 0u);
    EXPECT_EQ(harness.kernel(kBack).size(), row.out == PacketRow::kBackKernel ? 1u : 0u);
    harness.expect_conserved();
}

INSTANTIATE_TEST_SUITE_P(Table, OnePacket, testing::ValuesIn(kPacketRows),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace keyrail
