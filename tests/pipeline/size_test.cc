// SPDX-License-Identifier: Apache-2.0
// Links with another MTU than Ethernet's: the MSS of a SYN-ACK, and ICMP for what does not fit.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"

namespace keyrail {
namespace {

using namespace test;

class Size : public testing::TestWithParam<bool> {  // IPv6
  protected:
    void set_mtu(uint8_t port, uint32_t mtu) {
        harness.context().shared.port_mtu[port] = mtu;
        if (port == kBack) harness.context().shared.backplane_mtu = mtu;
        harness.context().mtus.read(harness.context().shared);
    }
    /// An established flow's segment, as an IP packet of this size.
    [[nodiscard]] TcpSegment segment(size_t ip_size) const {
        TcpSegment s{.payload = std::vector<uint8_t>(ip_size - (GetParam() ? 60 : 40), 7)};
        if (GetParam()) {
            s.source = "2001:db8:1::10";
            s.destination = kVip6;
        }
        return s;
    }
    /// What the sender of `about` hears of it, checked but for the MTU, which is returned.
    static uint32_t mtu_in(const Frame& error, const Frame& about) {
        const bool ipv6 = GetParam();
        const size_t ip = ipv6 ? 40 : 20, end = error.size();
        EXPECT_EQ(end - 14, ipv6 ? 1280u : 576u);
        EXPECT_EQ(ipv6 ? load16(&error[18]) + 40u : load16(&error[16]), end - 14);
        EXPECT_EQ(error[ipv6 ? 20 : 23], ipv6 ? kProtocolIcmp6 : kProtocolIcmp);
        EXPECT_EQ(load16(&error[14 + ip]), ipv6 ? 0x0200 : 0x0304);
        EXPECT_TRUE(
            std::equal(error.begin() + 22 + static_cast<ptrdiff_t>(ip), error.end(), about.begin() + 14));
        const size_t width = ipv6 ? 16 : 4, source = 14 + (ipv6 ? 8 : 12);
        EXPECT_TRUE(std::equal(&error[source], &error[source + width], &about[source + width]))
            << "from its target";
        EXPECT_TRUE(std::equal(&error[source + width], &error[source + 2 * width], &about[source]))
            << "to its sender";
        EXPECT_TRUE(std::equal(error.begin(), error.begin() + 6, about.begin() + 6)) << "by the way it came";
        EXPECT_TRUE(ip_checksum_good(error));
        uint32_t sum = 0;
        for (size_t i = ipv6 ? source : 14 + ip; i < end; i += 2) sum += load16(&error[i]);
        if (ipv6) sum += static_cast<uint32_t>(end - 54) + kProtocolIcmp6;
        while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
        EXPECT_EQ(sum, 0xffffu) << "the ICMP checksum";
        return load32(&error[18 + ip]);
    }
    Harness harness;
};
INSTANTIATE_TEST_SUITE_P(Families, Size, testing::Values(false, true));

TEST_P(Size, SynAcksSayWhatTheBackplaneCarries) {
    const uint16_t headers = GetParam() ? 60 : 40;
    for (const uint16_t mtu : std::initializer_list<uint16_t>{1500, 1400, 1280, 9000}) {
        set_mtu(kBack, mtu);
        TcpSegment syn = segment(100);
        syn.payload.clear();
        syn.flags = kSyn;
        syn.options = linux_syn_options();
        harness.burst(kFront, {syn.frame()});
        const auto out = harness.wire(kFront);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_TRUE(tcp_checksum_good(out[0]));
        EXPECT_EQ(load16(&out[0][parse_headers(out[0]).l4 + 22u]), std::min<uint16_t>(mtu, 1500) - headers)
            << mtu;
    }
}

TEST_P(Size, WhatDoesNotFitIsAnswered) {
    set_mtu(kBack, 1400);
    const Frame fits = segment(1400).frame(), longer = segment(1401).frame();
    harness.bind_flow(fits, 2);
    harness.burst(kFront, {fits, longer});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    const auto out = harness.wire(kFront);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(mtu_in(out[0], longer), 1400u);
    EXPECT_EQ(harness.count(Reason::too_big_answered), 1u);
    harness.expect_conserved();
}

TEST_P(Size, TagsAreNotPartOfIt) {
    set_mtu(kBack, 1400);
    const Frame fits = tagged(segment(1400).frame(), {10, 20}),
                longer = tagged(segment(1404).frame(), {10, 20});
    harness.bind_flow(fits, 2);
    harness.burst(kFront, {fits, longer});
    EXPECT_EQ(harness.wire(kBack).size(), 1u);
    const auto out = harness.wire(kFront);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(load16(&out[0][12]), load16(&longer[12])) << "the answer has the tags of what it answers";
    EXPECT_EQ(harness.count(Reason::too_big_answered), 1u);
    harness.expect_conserved();
}

TEST_P(Size, OnTheWayBack) {
    set_mtu(kFront, 1400);
    TcpSegment s = segment(1500);
    std::swap(s.source, s.destination);
    std::swap(s.source_port, s.destination_port);
    const Frame longer = s.frame();
    harness.burst(kBack, {longer});
    const auto out = harness.wire(kBack);
    if (out.empty()) {
        EXPECT_EQ(harness.count(Reason::punt_unresolved), 1u) << "no route to this client in the harness";
        return;
    }
    EXPECT_EQ(mtu_in(out.at(0), longer), 1400u);
}

TEST_P(Size, AnswersAreLimited) {
    set_mtu(kBack, 1400);
    const Frame longer = segment(1500).frame();
    harness.bind_flow(longer, 2);
    for (int i = 0; i < 150; i++) {
        harness.burst(kFront, {longer});
        (void)harness.wire(kFront);
    }
    EXPECT_EQ(harness.count(Reason::too_big_answered), 100u);
    EXPECT_EQ(harness.count(Reason::drop_too_big), 50u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
