// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/headers.h"

#include <gtest/gtest.h>

#include "tests/support/frames.h"

namespace keyrail {
namespace {

using test::Frame;
using test::TcpSegment;

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
    Frame frame = TcpSegment{.payload = {1}}.frame();
    frame.insert(frame.begin() + 34, {1, 1, 1, 1});
    frame[14] = 0x46;
    store16(&frame[16], static_cast<uint16_t>(load16(&frame[16]) + 4));
    const Headers h = parse_headers(frame);
    ASSERT_EQ(h.layout, Layout::tcp);
    EXPECT_EQ(h.l4, 38);
    EXPECT_EQ(h.payload_size, 1);
}

TEST(Headers, EveryTruncationIsSeen) {
    for (const char* source : {"192.0.2.1", "2001:db8::1"}) {
        const Frame whole = TcpSegment{
            .source = source,
            .destination = source,
            .options = test::linux_syn_options(),
            .payload = {1, 2}}.frame();
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
