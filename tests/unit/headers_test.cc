// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/headers.h"

#include <gtest/gtest.h>

#include "tests/support/frames.h"

namespace keyrail {
namespace {

using test::Frame;
using test::tagged;
using test::TcpSegment;
using test::too_big;
using test::with_extension;
using test::with_ip_options;

TEST(Headers, Ipv4Tcp) {
    const Frame frame =
        TcpSegment{.seq = 5, .ack = 6, .flags = kAck | kPsh, .options = {1, 1, 1, 1}, .payload = {9, 9, 9}}
            .frame();
    const Headers h = parse_headers(frame);
    ASSERT_EQ(h.layout, Layout::tcp);
    EXPECT_FALSE(h.ipv6);
    EXPECT_EQ(h.l4, 34);
    EXPECT_EQ(h.payload, 34 + 24);
    EXPECT_EQ(h.payload_size, 3);
    EXPECT_EQ(h.seq, 5u);
    EXPECT_EQ(h.ack, 6u);
    EXPECT_EQ(h.flags, kAck | kPsh);
    EXPECT_EQ(h.tuple.source, test::address("192.0.2.10"));
    EXPECT_EQ(h.tuple.destination_port, 443);
}

TEST(Headers, Ipv6Tcp) {
    const Headers h =
        parse_headers(TcpSegment{.source = "2001:db8::1", .destination = "2001:db8::2"}.frame());
    ASSERT_EQ(h.layout, Layout::tcp);
    EXPECT_TRUE(h.ipv6);
    EXPECT_EQ(h.l4, 54);
    EXPECT_EQ(h.tuple.destination, test::address("2001:db8::2"));
}

TEST(Headers, EthernetPaddingIsNotPayload) {
    Frame frame = TcpSegment{}.frame();
    frame.resize(60);
    EXPECT_EQ(parse_headers(frame).payload_size, 0);
}

TEST(Headers, Ipv4OptionsAreSkipped) {
    const Headers h = parse_headers(with_ip_options(TcpSegment{.payload = {1}}.frame(), {1, 1, 1, 1}));
    ASSERT_EQ(h.layout, Layout::tcp);
    EXPECT_EQ(h.l4, 38);
    EXPECT_EQ(h.payload_size, 1);
}

/// The short way agrees with the long one, or leaves the frame to it.
TEST(Headers, TheUsualOnesAreReadTheSame) {
    const Frame usual = TcpSegment{.seq = 5, .ack = 6, .payload = {1, 2, 3}}.frame();
    Headers h;
    ASSERT_TRUE(parse_usual_headers(usual, h));
    EXPECT_EQ(h, parse_headers(usual));
    for (size_t at = 12; at < usual.size(); at++) {
        for (const unsigned flip : {0x01u, 0x10u, 0x80u, 0xffu}) {
            Frame other = usual;
            other[at] = static_cast<uint8_t>(other[at] ^ flip);
            if (!parse_usual_headers(other, h)) continue;
            EXPECT_EQ(h, parse_headers(other)) << "byte " << at;
        }
    }
    for (size_t size = 0; size < usual.size(); size++)
        EXPECT_FALSE(parse_usual_headers(std::span(usual).first(size), h)) << size;
    EXPECT_FALSE(
        parse_usual_headers(TcpSegment{.source = "2001:db8::1", .destination = "2001:db8::2"}.frame(), h));
}

const TcpSegment kSegment6{.source = "2001:db8::1", .destination = "2001:db8::2", .payload = {1, 2, 3}};

TEST(Headers, VlanTagsAreSkipped) {
    for (const Frame& frame : {TcpSegment{.payload = {1, 2, 3}}.frame(), kSegment6.frame()}) {
        const Headers plain = parse_headers(frame);
        for (const std::vector<uint16_t>& vlans : {std::vector<uint16_t>{100}, {100, 200}}) {
            const Headers h = parse_headers(tagged(frame, vlans));
            ASSERT_EQ(h.layout, Layout::tcp);
            EXPECT_EQ(h.l3, 14 + 4 * vlans.size());
            EXPECT_EQ(h.payload, plain.payload + 4 * vlans.size());
            EXPECT_EQ(h.payload_size, 3);
            EXPECT_EQ(h.tuple, plain.tuple);
        }
        EXPECT_EQ(parse_headers(tagged(frame, {1, 2, 3})).layout, Layout::not_ip) << "the kernel's business";
    }
}

TEST(Headers, ExtensionHeadersAreSkipped) {
    constexpr uint8_t kHopByHop = 0, kRouting = 43, kDestination = 60, kFragment = 44;
    const Frame plain = kSegment6.frame();
    Frame frame = plain;
    for (const uint8_t kind : {kDestination, kRouting, kHopByHop}) {
        frame = with_extension(frame, kind, kind == kRouting ? 2 : 0);
        const Headers h = parse_headers(frame);
        ASSERT_EQ(h.layout, Layout::tcp);
        EXPECT_EQ(h.payload_size, 3);
        EXPECT_EQ(h.tuple, parse_headers(plain).tuple);
    }
    EXPECT_EQ(parse_headers(with_extension(frame, kFragment)).layout, Layout::fragment);
    for (int i = 0; i < 8; i++) frame = with_extension(frame, kDestination);
    EXPECT_EQ(parse_headers(frame).layout, Layout::other_ip) << "a walk without end";
    frame = with_extension(plain, kRouting);
    frame[14 + 40 + 3] = 1;  // segments left
    EXPECT_EQ(parse_headers(frame).layout, Layout::other_ip);
    frame = with_extension(plain, kDestination);
    frame[14 + 40 + 1] = 200;
    EXPECT_EQ(parse_headers(frame).layout, Layout::truncated);
}

TEST(Headers, IcmpErrorNamesTheConnectionAsItsClientDoes) {
    for (const bool ipv6 : {false, true}) {
        const std::string server = ipv6 ? "2001:db8::2" : "198.51.100.1",
                          client = ipv6 ? "2001:db8::1" : "192.0.2.10",
                          router = ipv6 ? "2001:db8::9" : "192.0.2.9";
        const Frame sent =
            TcpSegment{.source = server, .destination = client, .source_port = 443, .destination_port = 40000}
                .frame();
        const Tuple tuple{test::address(client), test::address(server), 40000, 443};
        Frame error = too_big(router, sent);
        EXPECT_EQ(parse_headers(error).layout, Layout::icmp_error);
        EXPECT_EQ(parse_headers(error).tuple, tuple);
        EXPECT_EQ(parse_headers(tagged(error, {7})).tuple, tuple);
        const size_t ip = ipv6 ? 40 : 20, icmp = 14 + ip;
        EXPECT_EQ(parse_headers(too_big(router, sent, ip + 8)).tuple, tuple) << "all that RFC 792 promises";
        EXPECT_EQ(parse_headers(too_big(router, sent, ip + 7)).layout, Layout::other_ip);
        error[icmp] = ipv6 ? 128 : 8;
        EXPECT_EQ(parse_headers(error).layout, Layout::other_ip) << "an echo request";
        error = too_big(router, sent);
        error[icmp + 8 + (ipv6 ? 8 : 12)] ^= 1;
        EXPECT_EQ(parse_headers(error).layout, Layout::other_ip) << "about a packet of somebody else";
        error = too_big(router, sent);
        error[icmp + 8 + (ipv6 ? 6 : 9)] = 17;
        EXPECT_EQ(parse_headers(error).layout, Layout::other_ip) << "UDP";
    }
}

TEST(Headers, EveryTruncationIsSeen) {
    for (const char* source : {"192.0.2.1", "2001:db8::1"}) {
        const Frame whole = TcpSegment{.source = source,
                                       .destination = source,
                                       .options = test::linux_syn_options(),
                                       .payload = {1, 2}}
                                .frame();
        for (size_t n = 0; n < whole.size(); n++) {
            const Frame cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
            EXPECT_EQ(parse_headers(cut).layout, Layout::truncated) << n;
        }
    }
}

TEST(Headers, LengthsThatContradict) {
    Frame frame = TcpSegment{}.frame();
    frame[46] = 0xf0;  // a TCP header of 60 bytes in a packet of 40
    EXPECT_EQ(parse_headers(frame).layout, Layout::truncated);
    frame[46] = 0x40;  // of 16 bytes
    EXPECT_EQ(parse_headers(frame).layout, Layout::truncated);
    frame = TcpSegment{}.frame();
    frame[14] = 0x44;  // an IPv4 header of 16 bytes
    EXPECT_EQ(parse_headers(frame).layout, Layout::truncated);
}

TEST(Headers, WhatIsNotTcp) {
    Frame frame = TcpSegment{}.frame();
    frame[23] = 17;
    EXPECT_EQ(parse_headers(frame).layout, Layout::other_ip);
    frame = TcpSegment{}.frame();
    frame[20] = 0x20;  // more fragments
    EXPECT_EQ(parse_headers(frame).layout, Layout::fragment);
    store16(&frame[12], 0x0806);
    EXPECT_EQ(parse_headers(frame).layout, Layout::not_ip);
}

}  // namespace
}  // namespace keyrail
