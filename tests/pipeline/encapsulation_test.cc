// SPDX-License-Identifier: Apache-2.0
// Around TCP: VLAN tags, IP options, extension headers, fragments, and ICMP errors about our connections.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"

namespace keyrail {
namespace {

using namespace test;

constexpr uint8_t kHopByHop = 0, kFragment = 44, kDestination = 60;

struct WrappedRow {
    const char* name;
    bool ipv6;
    Frame (*wrap)(const Frame&);  // as the client's frames come
    bool tags = false;            // they go back, but not to the blade
};

const WrappedRow kWrappedRows[] = {
    {"vlan", false, [](const Frame& f) { return tagged(f, {100}); }, true},
    {"vlan_ipv6", true, [](const Frame& f) { return tagged(f, {100}); }, true},
    {"qinq", false, [](const Frame& f) { return tagged(f, {100, 200}); }, true},
    {"qinq_ipv6", true, [](const Frame& f) { return tagged(f, {100, 200}); }, true},
    {"priority_tag", false, [](const Frame& f) { return tagged(f, {0xe000}); }, true},
    {"ip_options", false, [](const Frame& f) { return with_ip_options(f, {1, 1, 1, 0}); }},
    {"extension_headers", true,
     [](const Frame& f) { return with_extension(with_extension(f, kDestination, 1), kHopByHop); }},
};

class Wrapped : public testing::TestWithParam<WrappedRow> {
  protected:
    /// The frame without its tags, from the EtherType on.
    static Frame inner(const Frame& frame) {
        const Headers h = parse_headers(frame);
        return {frame.begin() + h.l3 - 2, frame.end()};
    }
    Harness harness;
};

TEST_P(Wrapped, SynIsAnsweredOnTheLinkThatItCameBy) {
    const WrappedRow& row = GetParam();
    const TcpSegment syn{.source = row.ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                         .destination = row.ipv6 ? kVip6 : kVip4,
                         .flags = kSyn,
                         .options = linux_syn_options()};
    harness.burst(kFront, {row.wrap(syn.frame())});
    const auto out = harness.wire(kFront);
    ASSERT_EQ(out.size(), 1u);
    const Headers h = parse_headers(out[0]);
    EXPECT_EQ(h.flags, kSyn | kAck);
    EXPECT_TRUE(tcp_checksum_good(out[0]));
    const Frame asked = row.wrap(syn.frame());
    const size_t tags = row.tags ? parse_headers(asked).l3 - 14u : 0;
    EXPECT_EQ(Frame(out[0].begin() + 12, out[0].begin() + 12 + static_cast<ptrdiff_t>(tags)),
              Frame(asked.begin() + 12, asked.begin() + 12 + static_cast<ptrdiff_t>(tags)));
    EXPECT_EQ(h.l4, 14 + tags + (row.ipv6 ? 40 : 20)) << "options and extension headers are not echoed";
}

TEST_P(Wrapped, HelloReachesTheBladeWithoutTags) {
    const WrappedRow& row = GetParam();
    Client client(harness, 41000, row.ipv6);
    client.syn();
    const auto hello = one_segment_hello_of(2);
    const Frame whole = row.wrap(client.data(hello));
    harness.burst(kFront, {whole});
    Client other(harness, 41001, row.ipv6);
    other.syn();
    const Frame a = row.wrap(other.data(cut(hello, 0, 100))),
                b = row.wrap(other.data(cut(hello, 100, 9999), 100));
    harness.burst(kFront, {b});  // proves nothing: a later one
    harness.burst(kFront, {a, b});
    const auto out = harness.wire(kBack);
    ASSERT_GE(out.size(), 3u);
    EXPECT_EQ(parse_headers(out[0]).l3, 14);
    EXPECT_EQ(inner(out[0]), inner(whole));
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(2));
    for (const Frame& frame : out) EXPECT_EQ(parse_headers(frame).l3, 14);
    EXPECT_EQ(harness.count(Reason::steer_home), 2u);
    harness.expect_conserved();
}

INSTANTIATE_TEST_SUITE_P(Table, Wrapped, testing::ValuesIn(kWrappedRows),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Return, GetsTheTagsOfItsRoute) {
    Harness harness;
    harness.route_by_vlans("192.0.2.11", {100});
    harness.route_by_vlans("192.0.2.12", {100, 200});
    for (const std::vector<uint16_t>& vlans : {std::vector<uint16_t>{}, {100}, {100, 200}}) {
        const std::string client = "192.0.2.1" + std::to_string(vlans.size());
        const Frame frame = TcpSegment{.source = kVip4,
                                       .destination = client,
                                       .source_port = 443,
                                       .destination_port = 40000,
                                       .payload = {1, 2, 3}}
                                .frame();
        for (const Frame& from_blade : {frame, tagged(frame, {7})}) {
            harness.burst(kBack, {from_blade});
            const auto out = harness.wire(kFront);
            ASSERT_EQ(out.size(), 1u);
            EXPECT_EQ(behind_macs(out[0]), behind_macs(tagged(frame, vlans)));
        }
    }
    EXPECT_EQ(harness.count(Reason::returned), 6u);
    harness.expect_conserved();
}

TEST(Fragments, AreDroppedForAServiceOnly) {
    Harness harness;
    const TcpSegment to_vip{.source = "2001:db8:1::10", .destination = kVip6};
    harness.burst(kFront, {with_extension(to_vip.frame(), kFragment),
                           tagged(with_extension(to_vip.frame(), kFragment), {5})});
    EXPECT_EQ(harness.count(Reason::drop_fragment), 2u);
    const TcpSegment to_us{.source = "2001:db8:1::10", .destination = "2001:db8:1::1"};
    harness.burst(kFront, {with_extension(to_us.frame(), kFragment)});
    EXPECT_EQ(harness.kernel(kFront).size(), 1u);
    harness.expect_conserved();
}

// --- ICMP errors

/// What a server sends to client 41000.
Frame from_server(bool ipv6, uint16_t client_port = 41000, uint16_t server_port = 443) {
    return TcpSegment{.source = ipv6 ? kVip6 : kVip4,
                      .destination = ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                      .source_port = server_port,
                      .destination_port = client_port,
                      .payload = std::vector<uint8_t>(1400)}
        .frame();
}

std::string router(bool ipv6) { return ipv6 ? "2001:db8:1::9" : "192.0.2.9"; }

class IcmpError : public testing::TestWithParam<bool> {};

TEST_P(IcmpError, ReachesTheBladeThatHasTheFlow) {
    for (uint16_t blade = 1; blade <= 3; blade++) {
        Harness harness;
        Client client(harness, 41000, GetParam());
        client.syn();
        harness.burst(kFront, {client.data(one_segment_hello_of(blade))});
        harness.wire(kBack);
        const Frame error = too_big(router(GetParam()), from_server(GetParam()));
        harness.burst(kFront, {error});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(destination(out[0]), Harness::blade_mac(blade));
        EXPECT_EQ(behind_macs(out[0]), behind_macs(error));
        EXPECT_EQ(harness.count(Reason::icmp_error), 1u);
        harness.expect_conserved();
    }
}

TEST_P(IcmpError, AboutAConnectionThatNobodyHas) {
    Harness harness;
    harness.burst(kFront, {too_big(router(GetParam()), from_server(GetParam()))});
    EXPECT_EQ(harness.count(Reason::drop_icmp_unowned), 1u);
    harness.expect_conserved();
}

TEST_P(IcmpError, OfAServiceWithoutLateBindingGoesByMaglev) {
    for (const Scene& scene : {Scene{.by_session = false}, Scene{.late = false}}) {
        Harness harness{scene};
        const TcpSegment syn{.source = GetParam() ? "2001:db8:1::10" : "192.0.2.10",
                             .destination = GetParam() ? kVip6 : kVip4,
                             .source_port = 41000,
                             .flags = kSyn};
        harness.burst(kFront, {syn.frame(), too_big(router(GetParam()), from_server(GetParam()))});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 2u);
        EXPECT_EQ(destination(out[0]), destination(out[1]));
    }
}

TEST_P(IcmpError, OfNoServiceIsTheKernels) {
    Harness harness;
    harness.burst(kFront, {too_big(router(GetParam()), from_server(GetParam(), 41000, 22))});
    EXPECT_EQ(harness.kernel(kFront).size(), 1u);
}

TEST_P(IcmpError, IsHandedToTheWorkerThatOwnsTheFlow) {
    Harness harness{Scene{.workers = 2}};
    size_t handed = 0;
    for (uint16_t port = 41000; port < 41032; port++) {
        const TcpSegment ack{.source = GetParam() ? "2001:db8:1::10" : "192.0.2.10",
                             .destination = GetParam() ? kVip6 : kVip4,
                             .source_port = port,
                             .ack = 7};
        harness.burst(kFront, {ack.frame()});
        const size_t theirs = harness.handed_over(1).size();
        harness.burst(kFront, {too_big(router(GetParam()), from_server(GetParam(), port))});
        EXPECT_EQ(harness.handed_over(1).size(), theirs);
        handed += theirs;
    }
    EXPECT_GT(handed, 0u);
    EXPECT_LT(handed, 32u);
}

INSTANTIATE_TEST_SUITE_P(Family, IcmpError, testing::Bool(),
                         [](const auto& row) { return row.param ? "ipv6" : "ipv4"; });

}  // namespace
}  // namespace keyrail
