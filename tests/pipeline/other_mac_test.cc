// SPDX-License-Identifier: Apache-2.0
// Switches flood, and ports without a filter show everything: what is for another MAC is another
// dispatcher's, or nobody's. Two dispatchers that answer one SYN give its client two cookies.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

struct OtherMacRow {
    const char* name;
    MacAddress mac;
    bool ipv6, late;
};
class OtherMac : public testing::TestWithParam<OtherMacRow> {
  protected:
    [[nodiscard]] TcpSegment segment(uint8_t flags, uint16_t to_port = 443) const {
        return {.source = GetParam().ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                .destination = GetParam().ipv6 ? kVip6 : kVip4,
                .destination_port = to_port,
                .flags = flags,
                .options = flags == kSyn ? linux_syn_options() : std::vector<uint8_t>{}};
    }
    [[nodiscard]] Frame to_other(Frame frame) const {
        std::ranges::copy(GetParam().mac, frame.begin());
        return frame;
    }
    /// Nothing comes of it.
    void expect_ignored(const Frame& frame) {
        const uint64_t before = harness.count(Reason::drop_other_mac);
        harness.burst(kFront, {to_other(frame)});
        EXPECT_EQ(harness.count(Reason::drop_other_mac), before + 1);
        EXPECT_TRUE(harness.wire(kFront).empty());
        EXPECT_TRUE(harness.wire(kBack).empty());
        EXPECT_TRUE(harness.flow_asks().empty());
    }
    Harness harness{Scene{.late = GetParam().late, .agents = true}};
};
constexpr MacAddress kOther = {0x02, 0, 0, 0, 0, 0xf1}, kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                     kMulticast = {0x01, 0, 0x5e, 0, 0, 1};
INSTANTIATE_TEST_SUITE_P(Table, OtherMac,
                         testing::Values(OtherMacRow{"other", kOther, false, true},
                                         OtherMacRow{"other_ipv6", kOther, true, true},
                                         OtherMacRow{"other_early", kOther, false, false},
                                         OtherMacRow{"broadcast", kBroadcast, false, true},
                                         OtherMacRow{"multicast_ipv6", kMulticast, true, true}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(OtherMac, ASynIsNotAnsweredAndNothingIsAskedFor) {
    expect_ignored(segment(kSyn).frame());
    expect_ignored(segment(kAck).frame());
    expect_ignored(segment(kFin | kAck).frame());
    expect_ignored(segment(kRst).frame());
    for (const std::vector<uint16_t>& vlans : {std::vector<uint16_t>{5}, {5, 6}})
        expect_ignored(tagged(segment(kSyn).frame(), vlans));
    harness.expect_conserved();
}

TEST_P(OtherMac, AHelloIsNotBoundByACopy) {
    if (!GetParam().late) return;
    Client client{harness, 41000, GetParam().ipv6};
    client.syn();
    const Frame hello = client.data(one_segment_hello_of(2));
    expect_ignored(hello);
    harness.burst(kFront, {hello});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    harness.expect_conserved();
}

TEST_P(OtherMac, WhatNobodyServesIsNotRefused) {
    expect_ignored(segment(kSyn, 444).frame());
    harness.expect_conserved();
}

TEST_P(OtherMac, TheKernelGetsTheRest) {
    TcpSegment elsewhere = segment(kSyn);
    elsewhere.destination = GetParam().ipv6 ? "2001:db8:77::1" : "203.0.113.77";
    harness.burst(kFront, {to_other(elsewhere.frame())});
    EXPECT_EQ(harness.kernel(kFront).size(), 1u) << "it filters by itself, and may have other addresses";
    EXPECT_EQ(harness.count(Reason::drop_other_mac), 0u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
