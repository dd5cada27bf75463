// SPDX-License-Identifier: Apache-2.0
// What VIPs say by themselves: echo replies, and the refusal of what nobody serves. And PROXY headers, which
// only the servers answer.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

constexpr uint8_t kEcho4 = 8, kEcho6 = 128, kUdp = 17;

uint16_t folded(uint64_t sum) {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(sum);
}
uint64_t sum16(std::span<const uint8_t> bytes) {
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes.size(); i++) sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
    return sum;
}

/// An IP packet in Ethernet, from the client.
Frame packet(bool ipv6, uint8_t protocol, const std::vector<uint8_t>& payload, const std::string& to = "") {
    const Address source = address(ipv6 ? "2001:db8:1::10" : "192.0.2.10"), vip = address(!to.empty() ? to
                                                                                          : ipv6      ? kVip6
                                                                                                 : kVip4);
    Frame frame(kEthernetSize + (ipv6 ? 40u : 20u));
    std::ranges::copy(kFrontMac, frame.begin());
    std::ranges::copy(kClientMac, frame.begin() + 6);
    store16(&frame[12], ipv6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    uint8_t* ip = &frame[kEthernetSize];
    if (ipv6) {
        ip[0] = 0x60;
        store16(ip + 4, static_cast<uint16_t>(payload.size()));
        ip[6] = protocol;
        ip[7] = 3;
        std::ranges::copy(source, ip + 8);
        std::ranges::copy(vip, ip + 24);
    } else {
        ip[0] = 0x45;
        store16(ip + 2, static_cast<uint16_t>(20 + payload.size()));
        ip[8] = 3;
        ip[9] = protocol;
        std::copy(source.begin() + 12, source.end(), ip + 12);
        std::copy(vip.begin() + 12, vip.end(), ip + 16);
    }
    frame.insert(frame.end(), payload.begin(), payload.end());
    return frame;
}
Frame ping(bool ipv6, size_t size, const std::string& to = "") {
    std::vector<uint8_t> echo(8 + size);
    std::iota(echo.begin(), echo.end(), uint8_t{0});
    echo[0] = ipv6 ? kEcho6 : kEcho4;
    echo[1] = echo[2] = echo[3] = 0;
    return packet(ipv6, ipv6 ? kProtocolIcmp6 : kProtocolIcmp, echo, to);
}
/// Of an ICMP message as it came out, at offset `l3`.
bool icmp_good(const Frame& frame, size_t l3, bool ipv6) {
    const size_t at = l3 + (ipv6 ? 40u : 20u);
    uint64_t sum = sum16(std::span(frame).subspan(at));
    if (ipv6) sum += sum16(std::span(frame).subspan(l3 + 8, 32)) + kProtocolIcmp6 + (frame.size() - at);
    return folded(sum) == 0xffff && (ipv6 || folded(sum16(std::span(frame).subspan(l3, 20))) == 0xffff);
}

class Answers : public testing::TestWithParam<bool> {
  protected:
    [[nodiscard]] static bool ipv6() { return GetParam(); }
    static size_t l3(size_t tags = 0) { return kEthernetSize + 4 * tags; }
};
INSTANTIATE_TEST_SUITE_P(Ipv6, Answers, testing::Bool());

TEST_P(Answers, PingOfAnySizeAndWithTags) {
    Harness harness;
    for (const size_t size : {0u, 1u, 56u, 57u, 1400u}) {
        for (const std::vector<uint16_t>& vlans : {std::vector<uint16_t>{}, {5}, {7, 9}}) {
            const Frame asked = tagged(ping(ipv6(), size), vlans);
            harness.burst(kFront, {asked});
            const auto out = harness.wire(kFront);
            ASSERT_EQ(out.size(), 1u);
            const Frame& reply = out[0];
            const size_t at = l3(vlans.size()), icmp = at + (ipv6() ? 40 : 20);
            ASSERT_EQ(reply.size(), asked.size());
            EXPECT_EQ(destination(reply), kClientMac);
            EXPECT_TRUE(std::equal(asked.begin() + 12, asked.begin() + static_cast<ptrdiff_t>(at),
                                   reply.begin() + 12));
            EXPECT_EQ(reply[icmp], ipv6() ? 129 : 0);
            EXPECT_TRUE(icmp_good(reply, at, ipv6())) << size;
            EXPECT_TRUE(std::equal(asked.begin() + static_cast<ptrdiff_t>(icmp) + 4, asked.end(),
                                   reply.begin() + static_cast<ptrdiff_t>(icmp) + 4))
                << "identifier, number and data";
            const Headers h = parse_headers(reply);
            EXPECT_EQ(h.tuple.destination, parse_headers(asked).tuple.source);
            EXPECT_EQ(h.tuple.source, parse_headers(asked).tuple.destination);
        }
    }
    EXPECT_EQ(harness.count(Reason::ping_answered), 15u);
    harness.expect_conserved();
}

TEST_P(Answers, NoPingWithoutABladeOrByTheKey) {
    for (const Scene& scene : {Scene{.up = {}, .down = {1, 2}}, Scene{.ping = false}}) {
        Harness harness{scene};
        harness.burst(kFront, {ping(ipv6(), 56)});
        EXPECT_TRUE(harness.wire(kFront).empty());
        EXPECT_TRUE(harness.kernel(kFront).empty());
        EXPECT_EQ(harness.count(Reason::drop_no_ping), 1u);
        harness.expect_conserved();
    }
}

TEST_P(Answers, OthersPingsAreTheKernels) {
    Harness harness;
    harness.burst(kFront, {ping(ipv6(), 56, ipv6() ? "2001:db8:100::2" : "198.51.100.2")});
    EXPECT_EQ(harness.kernel(kFront).size(), 1u);
}

TEST_P(Answers, PingsAreLimited) {
    Harness harness;
    for (int i = 0; i < 300; i++) harness.burst(kFront, {ping(ipv6(), 8)});
    EXPECT_EQ(harness.count(Reason::ping_answered), 100u);
    EXPECT_EQ(harness.count(Reason::drop_answer_limit), 200u);
    harness.advance(50'000);
    harness.wire(kFront);
    for (int i = 0; i < 100; i++) harness.burst(kFront, {ping(ipv6(), 8)});
    EXPECT_EQ(harness.count(Reason::ping_answered), 150u) << "1000 a second";
    harness.wire(kFront);
    harness.expect_conserved();
}

/// RFC 9293 section 3.10.7.1, CLOSED.
TEST_P(Answers, APortWithoutAServiceIsRefused) {
    Harness harness;
    TcpSegment asked{.source = ipv6() ? "2001:db8:1::10" : "192.0.2.10",
                     .destination = ipv6() ? kVip6 : kVip4,
                     .destination_port = 80,
                     .seq = 0xfffffffe};
    struct Row {
        uint8_t flags;
        size_t payload;
        uint32_t seq, ack;
        uint8_t answer;
    };
    for (const Row& row : {Row{kSyn, 0, 0, 0xffffffff, kRst | kAck}, Row{kSyn, 5, 0, 4, kRst | kAck},
                           Row{kAck, 0, 77, 0, kRst}, Row{kAck | kPsh, 9, 77, 0, kRst},
                           Row{kFin | kAck, 3, 77, 0, kRst}, Row{kFin, 3, 0, 2, kRst | kAck}}) {
        asked.flags = row.flags;
        asked.ack = row.flags & kAck ? 77 : 0;
        asked.payload.assign(row.payload, 'x');
        for (const std::vector<uint16_t>& vlans : {std::vector<uint16_t>{}, {5}, {7, 9}}) {
            harness.burst(kFront, {tagged(asked.frame(), vlans)});
            const auto out = harness.wire(kFront);
            ASSERT_EQ(out.size(), 1u);
            const Headers h = parse_headers(out[0]);
            EXPECT_EQ(h.flags, row.answer);
            EXPECT_EQ(h.seq, row.seq);
            EXPECT_EQ(h.ack, row.ack);
            EXPECT_EQ(h.tuple.source_port, 80);
            EXPECT_EQ(h.l3, l3(vlans.size()));
            EXPECT_TRUE(tcp_checksum_good(out[0]));
            EXPECT_TRUE(ipv6() || !vlans.empty() || ip_checksum_good(out[0]));
        }
    }
    asked.flags = kRst | kAck;
    harness.burst(kFront, {asked.frame()});
    EXPECT_TRUE(harness.wire(kFront).empty()) << "nobody answers a RST";
    EXPECT_EQ(harness.count(Reason::refused_reset), 18u);
    EXPECT_EQ(harness.count(Reason::drop_no_service), 1u);
    EXPECT_TRUE(harness.kernel(kFront).empty());
    harness.expect_conserved();
}

TEST_P(Answers, UdpIsUnreachable) {
    Harness harness;
    for (const size_t size : {8u, 30u, 1400u}) {
        const Frame asked = packet(ipv6(), kUdp, std::vector<uint8_t>(size, 7));
        harness.burst(kFront, {asked});
        const auto out = harness.wire(kFront);
        ASSERT_EQ(out.size(), 1u);
        const size_t icmp = l3() + (ipv6() ? 40 : 20);
        EXPECT_EQ(out[0][icmp], ipv6() ? 1 : 3);
        EXPECT_EQ(out[0][icmp + 1], ipv6() ? 4 : 3) << "port unreachable";
        EXPECT_TRUE(icmp_good(out[0], l3(), ipv6()));
        EXPECT_LE(out[0].size() - l3(), ipv6() ? 1280u : 576u);
        EXPECT_TRUE(std::equal(out[0].begin() + static_cast<ptrdiff_t>(icmp) + 8, out[0].end(),
                               asked.begin() + static_cast<ptrdiff_t>(l3())));
    }
    EXPECT_EQ(harness.count(Reason::refused_icmp), 3u);
    harness.expect_conserved();
}

/// Who knocks at ports does not keep a VIP from answering those who look after it.
TEST_P(Answers, RefusalsCostNoPings) {
    Harness harness;
    for (int i = 0; i < 200; i++) harness.burst(kFront, {packet(ipv6(), kUdp, std::vector<uint8_t>(8, 7))});
    harness.burst(kFront, {ping(ipv6(), 8)});
    EXPECT_EQ(harness.count(Reason::ping_answered), 1u);
    harness.wire(kFront);
    harness.expect_conserved();
}

TEST_P(Answers, NothingWhereTheKeySaysDrop) {
    Harness harness{Scene{.up = {}, .down = {1}, .refuse_in_silence = true}};
    TcpSegment asked{.source = ipv6() ? "2001:db8:1::10" : "192.0.2.10",
                     .destination = ipv6() ? kVip6 : kVip4,
                     .destination_port = 80,
                     .flags = kSyn};
    harness.burst(kFront, {asked.frame(), packet(ipv6(), kUdp, std::vector<uint8_t>(8))});
    asked.destination_port = 443;
    harness.burst(kFront, {asked.frame()});
    EXPECT_TRUE(harness.wire(kFront).empty());
    EXPECT_TRUE(harness.kernel(kFront).empty());
    EXPECT_EQ(harness.count(Reason::drop_no_service), 2u);
    EXPECT_EQ(harness.count(Reason::drop_no_blade), 1u);
    harness.expect_conserved();
}

TEST_P(Answers, AServiceWithoutABladeIsRefused) {
    for (const bool late : {true, false}) {
        Harness harness{Scene{.up = {}, .down = {1, 2}, .late = late}};
        const TcpSegment asked{.source = ipv6() ? "2001:db8:1::10" : "192.0.2.10",
                               .destination = ipv6() ? kVip6 : kVip4,
                               .flags = kSyn,
                               .options = linux_syn_options()};
        harness.burst(kFront, {asked.frame()});
        const auto out = harness.wire(kFront);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(parse_headers(out[0]).flags, kRst | kAck);
        EXPECT_TRUE(tcp_checksum_good(out[0]));
        EXPECT_EQ(harness.count(Reason::refused_reset), 1u);
        harness.expect_conserved();
    }
}

TEST(AnswersToMany, MulticastSourcesGetNone) {
    Harness harness;
    TcpSegment asked{.source = "224.0.0.1", .destination_port = 80, .flags = kSyn};
    harness.burst(kFront, {asked.frame()});
    EXPECT_TRUE(harness.wire(kFront).empty());
}

// --- PROXY headers

std::vector<uint8_t> proxy_header(const std::string& kind) {
    std::string text;
    if (kind == "v1") text = "PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n";
    if (kind == "v1_unknown") text = "PROXY UNKNOWN\r\n";
    if (kind.starts_with("v2")) {
        const size_t size = kind == "v2_tlvs" ? 300 : 12;
        text = std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11", 14) + static_cast<char>(size >> 8) +
               static_cast<char>(size & 0xff) + std::string(size, '\x16');
    }
    return {text.begin(), text.end()};
}

class Proxied : public testing::TestWithParam<std::tuple<std::string, bool>> {
  protected:
    Scene scene{.late = std::get<1>(GetParam())};
    const std::vector<uint8_t> header = proxy_header(std::get<0>(GetParam()));
    std::vector<uint8_t> stream() {
        auto all = header;
        const auto hello = one_segment_hello_of(2);
        all.insert(all.end(), hello.begin(), hello.end());
        return all;
    }
    /// A connection whose stream comes in these pieces, from this port.
    void connect(Harness& harness, uint16_t port, const std::vector<std::vector<uint8_t>>& pieces) {
        TcpSegment base{.source_port = port, .seq = 5000, .flags = kSyn, .options = linux_syn_options()};
        harness.burst(kFront, {base.frame()});
        uint32_t ack = 1, tsval = 0;
        if (scene.late) {
            const auto reply = harness.wire(kFront);
            const Headers h = parse_headers(reply.at(0));
            ack = h.seq.value() + 1;
            tsval = load32(&reply[0][h.l4 + 28u]);
        }
        base.flags = kAck;
        base.ack = ack;
        base.options = timestamp_option(78, tsval);
        base.seq++;
        harness.burst(kFront, {base.frame()});
        for (const auto& piece : pieces) {
            base.payload = piece;
            harness.burst(kFront, {base.frame()});
            base.seq += static_cast<uint32_t>(piece.size());
            for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
        }
        harness.wire(kBack);
    }
};
INSTANTIATE_TEST_SUITE_P(Table, Proxied,
                         testing::Combine(testing::Values("v1", "v1_unknown", "v2", "v2_tlvs"),
                                          testing::Bool()));

TEST_P(Proxied, TheHelloBehindItIsReadWhereverItIsCut) {
    Harness harness{scene};
    uint16_t port = 41000;
    uint64_t named = 0;
    for (size_t at = 0; at <= header.size() + 10; at++) {
        const auto all = stream();
        std::vector<std::vector<uint8_t>> pieces = {cut(all, 0, at), cut(all, at, all.size())};
        if (at == 0) pieces.erase(pieces.begin());
        connect(harness, port++, pieces);
        named++;
        ASSERT_EQ(harness.count(Reason::steer_home) + harness.count(Reason::steer_move) +
                      harness.count(Reason::steer_moved),
                  named)
            << at;
    }
    EXPECT_EQ(harness.count(Reason::steer_not_tls), 0u);
    harness.expect_conserved();
}

TEST_P(Proxied, IsNoHelloWhereTheServiceSaysSo) {
    scene.proxy_protocol = false;
    Harness harness{scene};
    connect(harness, 41000, {stream()});
    EXPECT_EQ(harness.count(Reason::steer_not_tls), 1u);
}

}  // namespace
}  // namespace keyrail
