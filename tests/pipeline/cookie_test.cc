// SPDX-License-Identifier: Apache-2.0
// What a cookie is good for between SYN and ClientHello, and for how long; who is not served by one.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

class Cookies : public testing::TestWithParam<bool> {  // IPv6
  protected:
    /// Was the segment taken for the first of a connection whose cookie is good?
    bool taken(const Frame& frame) {
        harness.forget_flows();
        const uint64_t before = harness.count(Reason::steer_midstream);
        harness.burst(kFront, {frame});
        return harness.wire(kBack).size() == 1 && harness.count(Reason::steer_midstream) == before;
    }
    Harness harness;
    Client client{harness, 41000, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Families, Cookies, testing::Values(false, true));

TEST_P(Cookies, AreGoodForOneToTwoMinutes) {
    client.syn();
    const Frame data = client.data(one_segment_hello_of(2));
    EXPECT_TRUE(taken(data));
    harness.advance(60 * kSecondUs);
    EXPECT_TRUE(taken(data));
    harness.advance(67 * kSecondUs);
    EXPECT_FALSE(taken(data));
    for (const uint64_t hours : {1, 6, 23}) {
        harness.advance(hours * 3600 * kSecondUs);
        EXPECT_FALSE(taken(data)) << hours;
    }
    harness.expect_conserved();
}

TEST_P(Cookies, AnswerKeepAliveProbes) {
    client.syn();
    for (const bool garbage : {false, true}) {
        TcpSegment probe = client.segment(garbage ? std::vector<uint8_t>{0} : std::vector<uint8_t>{}, 0u - 1);
        harness.advance(20 * kSecondUs);
        harness.burst(kFront, {probe.frame()});
        const auto out = harness.wire(kFront);
        ASSERT_EQ(out.size(), 1u);
        const Headers h = parse_headers(out[0]);
        EXPECT_EQ(h.flags, kAck);
        EXPECT_EQ(h.seq.value(), client.cookie + 1);
        EXPECT_EQ(h.ack.value(), probe.seq + 1) << "what the client has sent so far: its SYN";
        EXPECT_EQ(h.payload_size, 0);
        EXPECT_EQ(h.tuple.source, address(GetParam() ? kVip6 : kVip4));
        EXPECT_EQ(h.tuple.destination_port, 41000);
        EXPECT_EQ(load32(&out[0][h.l4 + 24u]), client.tsval) << "the client's echo stays that of the cookie";
        EXPECT_EQ(load32(&out[0][h.l4 + 28u]), 78u) << "its own timestamp";
        EXPECT_EQ(load16(&out[0][h.l4 + 14u]), KR_COOKIE_WINDOW >> KR_COOKIE_WSCALE);
        EXPECT_TRUE(tcp_checksum_good(out[0]) && ip_checksum_good(out[0]));
    }
    EXPECT_EQ(harness.count(Reason::keepalive_answered), 2u);
    EXPECT_TRUE(taken(client.data(one_segment_hello_of(2)))) << "and the hello comes at last";
    harness.expect_conserved();
}

TEST_P(Cookies, OthersProbesAreNotAnswered) {
    client.syn();
    TcpSegment probe = client.segment({}, 0u - 1);
    probe.ack += 0x200;
    harness.burst(kFront, {probe.frame()});
    probe = client.segment({}, 0u - 2);
    harness.burst(kFront, {probe.frame()});
    harness.advance(200 * kSecondUs);
    harness.burst(kFront, {client.segment({}, 0u - 1).frame()});
    EXPECT_TRUE(harness.wire(kFront).empty());
    EXPECT_EQ(harness.count(Reason::keepalive_answered), 0u);
    EXPECT_EQ(harness.count(Reason::steer_midstream), 3u);
    harness.expect_conserved();
}

/// A client whose handshake is answered without timestamps.
struct Bare {
    TcpSegment s;
    explicit Bare(uint16_t port, bool ipv6) {
        s.source_port = port;
        if (ipv6) {
            s.source = "2001:db8:1::10";
            s.destination = kVip6;
        }
    }
    [[nodiscard]] TcpSegment syn(uint16_t mss) const {
        TcpSegment syn = s;
        syn.flags = kSyn;
        syn.options = {2, 4, static_cast<uint8_t>(mss >> 8), static_cast<uint8_t>(mss)};
        return syn;
    }
    [[nodiscard]] TcpSegment data(uint32_t ack, std::vector<uint8_t> payload) const {
        TcpSegment data = s;
        data.flags = kAck;
        data.seq = s.seq + 1;
        data.ack = ack;
        data.payload = std::move(payload);
        return data;
    }
};

class BareCookies : public Cookies {
  protected:
    /// As many as a service bears in a second.
    void guess_too_often() {
        const Bare victim(42001, GetParam());
        for (uint32_t guess = 0; guess < KR_COOKIE_GUESSES_PER_S / 20; guess++)
            harness.burst(kFront, {victim.data(guess << 9, {1, 2, 3}).frame()});
        (void)harness.wire(kBack);
    }
    /// The hello of a client without timestamps whose SYN has been answered.
    Frame answered_hello(const Bare& bare) {
        harness.burst(kFront, {bare.syn(1400).frame()});
        const uint32_t cookie = load32(&harness.wire(kFront).at(0)[GetParam() ? 58 : 38]);
        return bare.data(cookie + 1, one_segment_hello_of(2)).frame();
    }
};
INSTANTIATE_TEST_SUITE_P(Families, BareCookies, testing::Values(false, true));

TEST_P(BareCookies, OfWhoHasGuessedAreNotBelievedWhereManyDo) {
    const Bare other(42000, GetParam());
    const Frame good = answered_hello(other);
    harness.burst(kFront, {other.data(77 << 9, {1, 2, 3}).frame()});
    client.syn();
    guess_too_often();
    EXPECT_FALSE(taken(good));
    EXPECT_EQ(harness.count(Reason::drop_cookie_guess), 2u) << "one guess too many, and this";
    EXPECT_TRUE(taken(client.data(one_segment_hello_of(2))))
        << "with timestamps it is not guessed in the age of the universe";
    harness.burst(kFront, {Bare(42001, GetParam()).syn(1400).frame()});
    EXPECT_EQ(harness.count(Reason::bind_early), 1u) << "nobody is turned away: a blade answers";
    (void)harness.wire(kBack);
    harness.advance(kSecondUs);
    EXPECT_TRUE(taken(good));
    harness.expect_conserved();
}

TEST_P(BareCookies, OfWhoWasAnsweredBeforeAreBelievedAllTheSame) {
    const Frame good = answered_hello(Bare(42000, GetParam()));
    for (int second = 0; second < 50; second++) {
        guess_too_often();
        harness.advance(kSecondUs);
    }
    guess_too_often();
    EXPECT_TRUE(taken(good));
    harness.expect_conserved();
}

TEST_P(BareCookies, WhatBladesDoNotGetTheyDoNotCount) {
    guess_too_often();
    harness.burst(kFront, {Bare(42002, GetParam()).data(7, {1, 2, 3}).frame()});
    EXPECT_TRUE(harness.wire(kBack).empty());
    EXPECT_EQ(harness.count(Reason::drop_cookie_guess), 1u);
    harness.burst(kFront, {Bare(42002, GetParam()).data(7, {}).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 1u) << "a bare acknowledgement is no guess";
    harness.expect_conserved();
}

/// A second answer, with another number, would have the client's handshake reset.
TEST_P(BareCookies, ASynThatABladeAnswersIsNotAnsweredHereWhenItComesAgain) {
    guess_too_often();
    for (int again = 0; again < 3; again++) {
        harness.burst(kFront, {Bare(42002, GetParam()).syn(1400).frame()});
        EXPECT_EQ(harness.wire(kBack).size(), 1u);
        EXPECT_TRUE(harness.wire(kFront).empty());
        harness.advance(kSecondUs + kSecondUs / 10);
    }
    harness.burst(kFront, {Bare(42003, GetParam()).syn(1400).frame()});
    EXPECT_EQ(harness.wire(kFront).size(), 1u) << "another one gets a cookie again";
    harness.expect_conserved();
}

/// RFC 9293 section 3.7.1: nobody may send a client more than its MSS.
TEST_P(Cookies, ClientsOfASmallMssAreAnsweredByABlade) {
    const uint16_t smallest = GetParam() ? 1220 : 536;
    uint16_t port = 43000;
    for (const uint16_t mss : std::initializer_list<uint16_t>{88, 256, static_cast<uint16_t>(smallest - 1)}) {
        const Bare small(port++, GetParam());
        harness.burst(kFront, {small.syn(mss).frame()});
        auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 1u) << mss;
        const MacAddress blade = destination(out[0]);
        harness.burst(kFront, {small.data(7001, {}).frame(),
                               small.data(7001, one_segment_hello_of(blade.back())).frame()});
        out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 2u) << "the handshake's last packet, and the hello";
        EXPECT_EQ(destination(out[0]), blade);
        EXPECT_EQ(destination(out[1]), blade);
    }
    EXPECT_TRUE(harness.wire(kFront).empty());
    harness.burst(kFront, {Bare(port, GetParam()).syn(smallest).frame()});
    EXPECT_EQ(harness.count(Reason::syn_cookie), 1u);
    (void)harness.wire(kFront);
    harness.expect_conserved();
}

/// From the port of a connection that is over, which its blade has in TIME_WAIT: its kernel lets the SYN in.
TEST_P(Cookies, ASmallMssFromAKnownPortGoesToThatPortsBlade) {
    const Bare small(43900, GetParam());
    for (const uint16_t blade : {uint16_t{1}, uint16_t{2}, uint16_t{3}}) {
        harness.bind_flow(small.syn(256).frame(), blade);
        harness.context()
            .flows
            .find(harness.context().flow_hash(parse_headers(small.syn(256).frame())),
                  harness.context().clock.ticks)
            ->blade_says(kRst, harness.context().clock.ticks);
        harness.burst(kFront, {small.syn(256).frame()});
        harness.burst(kFront,
                      {small.data(7001, {}).frame(), small.data(7001, one_segment_hello_of(blade)).frame()});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 3u);
        for (const Frame& frame : out) EXPECT_EQ(destination(frame), Harness::blade_mac(blade));
    }
    EXPECT_TRUE(harness.wire(kFront).empty());
    harness.expect_conserved();
}

TEST_P(Cookies, AFloodOfSmallMssDoesNotReachTheBlades) {
    constexpr uint16_t kSyns = 3000;
    for (uint16_t port = 1; port <= kSyns; port++) {
        harness.burst(kFront, {Bare(port, GetParam()).syn(100).frame()});
        (void)harness.wire(kFront);
        (void)harness.wire(kBack);
    }
    EXPECT_EQ(harness.count(Reason::bind_early), 512u);
    EXPECT_EQ(harness.count(Reason::syn_cookie), kSyns - 512u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
