// SPDX-License-Identifier: Apache-2.0
#include "dataplane/cookie/syn_cookie.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "dataplane/cookie/cookie_macs.h"
#include "tests/support/cookies.h"
#include "tests/support/frames.h"

namespace keyrail {
namespace {

using test::Frame;
using test::TcpSegment;

constexpr kr_cookie_key kKey = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

/// SipHash-2-4 by OpenSSL: an oracle that shares no line with ours.
uint64_t siphash(std::vector<uint8_t> message) {
    EVP_MAC* mac = EVP_MAC_fetch(nullptr, "SIPHASH", nullptr);
    EVP_MAC_CTX* context = EVP_MAC_CTX_new(mac);
    unsigned size = 8;
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_END};
    uint8_t out[8];
    size_t written = 0;
    EXPECT_TRUE(EVP_MAC_init(context, reinterpret_cast<const uint8_t*>(&kKey), sizeof kKey, parameters));
    EXPECT_TRUE(EVP_MAC_update(context, message.data(), message.size()));
    EXPECT_TRUE(EVP_MAC_final(context, out, &written, sizeof out));
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    uint64_t value = 0;
    std::memcpy(&value, out, sizeof value);
    return value;
}

TEST(Cookie, MacIsSipHashOver43Bytes) {
    std::vector<uint8_t> message(43);
    for (size_t i = 0; i < message.size(); i++) message[i] = static_cast<uint8_t>(i * 7);
    kr_cookie_tuple tuple;
    std::memcpy(&tuple, message.data(), 40);
    const auto period = static_cast<uint16_t>(message[42] << 8 | message[41]);
    EXPECT_EQ(kr_cookie_mac(&tuple, message[40], period, &kKey), siphash(message));
}

TEST(Cookie, MappedIpv4IsTheSecondHalfOfTheMappedAddress) {
    const Address mapped = test::address("192.0.2.10");
    uint64_t words[2];
    std::memcpy(words, mapped.data(), 16);
    EXPECT_EQ(words[0], 0u);
    EXPECT_EQ(words[1], kr_cookie_mapped4(load32_raw(&mapped[12])));
}

/// Eight at a time or one by one: the same MACs, for both keys and any number of them. IPv4's first word is
/// zero, and what follows from that is made beforehand where all of eight have it: so are none, all of some
/// eights, and some of each.
class CookieMacsTest : public testing::TestWithParam<CookieMacs::Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, CookieMacsTest,
                         testing::Values(CookieMacs::Way::one_by_one, CookieMacs::Way::two_fours,
                                         CookieMacs::Way::eight));

TEST_P(CookieMacsTest, AreThoseOfTheCookie) {
    if (GetParam() > CookieMacs::fastest()) GTEST_SKIP() << "this CPU does not have it";
    const std::array<kr_cookie_key, 2> keys = {{{1, 2}, {0x0123456789abcdef, ~uint64_t{0}}}};
    CookieMacs macs;
    const auto is_ipv4 = [](uint16_t i, int mix) {
        return mix == 1 || (mix == 2 && i / 8 % 2 == 0) || (mix == 3 && i % 3 == 0);
    };
    for (int mix = 0; mix < 4; mix++) {
        for (const uint16_t count : std::initializer_list<uint16_t>{1, 7, 8, 9, 64}) {
            macs.clear();
            std::vector<uint64_t> wanted;
            for (uint16_t i = 0; i < count; i++) {
                kr_cookie_tuple tuple;
                for (uint64_t w = 0; w < 5; w++) tuple.word[w] = (w + 1) * 0x9e3779b97f4a7c15 * (i + 1u);
                if (is_ipv4(i, mix)) tuple.word[0] = tuple.word[2] = 0;
                const auto options = static_cast<uint8_t>(i * 37);
                const auto period = static_cast<uint16_t>(i * 1009);
                EXPECT_EQ(macs.add(tuple, options, period), i);
                wanted.push_back(
                    kr_cookie_mac(&tuple, options, period, &keys[options >> KR_COOKIE_KEY_SHIFT & 1]));
            }
            macs.make(keys, GetParam());
            for (uint16_t i = 0; i < count; i++) EXPECT_EQ(macs[i], wanted[i]) << i << " of " << count;
        }
    }
}

constexpr uint32_t kNow = 0x12345678;  // TAI, ms

/// A handshake of which we play the client: SYN in, SYN-ACK out.
struct Answer {
    TcpSegment syn;
    Frame frame;
    Headers h;

    explicit Answer(TcpSegment s, uint8_t key_id = 0, uint32_t tai_ms = kNow) : syn(std::move(s)) {
        syn.flags = kSyn;
        frame = syn.frame();
        const Headers in = parse_headers(frame);
        frame.resize(std::max<size_t>(frame.size(), kSynAckMax));
        frame.resize(test::answer_syn(frame, in, {kKey, kKey}, key_id, tai_ms));
        h = parse_headers(frame);
    }
    [[nodiscard]] SynOptions options() const { return read_syn_options(tcp_options(frame, h)); }
    /// The client's next segment.
    [[nodiscard]] Frame reply(bool timestamps, std::vector<uint8_t> payload = {}) const {
        TcpSegment s = syn;
        s.flags = kAck;
        s.seq = h.ack.value();
        s.ack = (h.seq + 1).value();
        s.options = timestamps ? test::timestamp_option(78, options().tsval()) : std::vector<uint8_t>{};
        s.payload = std::move(payload);
        return s.frame();
    }
};

bool acknowledged(const Frame& frame, uint8_t key_id = 0, uint32_t tai_ms = kNow) {
    std::array<kr_cookie_key, 2> keys{};
    keys[key_id] = kKey;
    return test::cookie_acknowledged(frame, parse_headers(frame), keys, tai_ms);
}

struct SynCase {
    const char* name;
    TcpSegment syn;
    uint16_t mss;  // what the cookie must say
    bool timestamps;
};

class SynCookie : public testing::TestWithParam<SynCase> {};

TEST_P(SynCookie, AnswersAndRecognisesItsAnswer) {
    const Answer answer(GetParam().syn);
    ASSERT_EQ(answer.h.layout, Layout::tcp);
    EXPECT_EQ(answer.h.flags, kSyn | kAck);
    EXPECT_EQ(answer.h.ack, answer.syn.seq + 1);
    EXPECT_EQ(answer.h.tuple.source, test::address(answer.syn.destination));
    EXPECT_EQ(answer.h.tuple.destination_port, answer.syn.source_port);
    EXPECT_TRUE(test::tcp_checksum_good(answer.frame));
    EXPECT_TRUE(test::ip_checksum_good(answer.frame));
    const uint64_t classes = answer.h.ipv6 ? KR_COOKIE_MSS6 : KR_COOKIE_MSS4;
    EXPECT_EQ(classes >> (16 * (answer.h.seq.value() >> KR_COOKIE_MSS_SHIFT & 3)) & 0xffff, GetParam().mss);
    EXPECT_EQ(answer.options().timestamp, GetParam().timestamps);
    EXPECT_TRUE(acknowledged(answer.reply(GetParam().timestamps)));
    EXPECT_TRUE(acknowledged(answer.reply(GetParam().timestamps, {1, 2, 3})));
}

TEST_P(SynCookie, RefusesWhatItDidNotSay) {
    const Answer answer(GetParam().syn);
    const Frame good = answer.reply(GetParam().timestamps);
    const Headers h = parse_headers(good);
    for (const size_t byte : {0u, 1u, 4u, 7u, 8u, 9u, 10u}) {
        Frame bad = good;  // ports, client's sequence number, our ISN
        bad[h.l4 + byte] ^= 0x40;
        EXPECT_FALSE(acknowledged(bad)) << byte;
    }
    EXPECT_FALSE(acknowledged(good, 1)) << "a key that is not in use";
    if (GetParam().timestamps) {
        Frame bad = good;
        bad[h.l4 + 28u] ^= 1;  // high bits of TSecr
        EXPECT_FALSE(acknowledged(bad));
    }
}

TcpSegment syn_with(std::vector<uint8_t> options, bool ipv6 = false) {
    TcpSegment s;
    s.options = std::move(options);
    if (ipv6) {
        s.source = "2001:db8:1::10";
        s.destination = "2001:db8:100::1";
    }
    return s;
}

INSTANTIATE_TEST_SUITE_P(
    Clients, SynCookie,
    testing::Values(SynCase{"linux4", syn_with(test::linux_syn_options()), 1460, true},
                    SynCase{"linux6", syn_with(test::linux_syn_options(1440), true), 1440, true},
                    SynCase{"bare", syn_with({}), 536, false},
                    SynCase{"pppoe", syn_with(test::linux_syn_options(1452)), 1440, true},
                    SynCase{"tiny_mss", syn_with(test::linux_syn_options(300)), 536, true},
                    SynCase{"sack_only", syn_with({2, 4, 5, 180, 4, 2}), 1460, false},
                    SynCase{"broken_options", syn_with({2, 4, 5, 180, 8, 77}), 1460, false},
                    SynCase{"window_15", syn_with(test::linux_syn_options(1460, 15)), 1460, true}),
    [](const auto& test) { return test.param.name; });

TEST(SynCookie, KeyIdSelectsTheKey) {
    const Answer answer(syn_with(test::linux_syn_options()), 1);
    EXPECT_TRUE(answer.h.seq.value() & KR_COOKIE_KEY_ID);
    EXPECT_TRUE(acknowledged(answer.reply(true), 1));
}

/// Made at `at`, looked at `later` ms after that; negative: the clock that checks is behind.
bool good_after(uint32_t at, int64_t later, bool timestamps = true) {
    const Answer answer(syn_with(test::linux_syn_options()), 0, at);
    return acknowledged(answer.reply(timestamps), 0, static_cast<uint32_t>(at + later));
}

TEST(SynCookie, IsGoodForOneToTwoMinutes) {
    constexpr uint32_t kPeriod = 65'536;
    for (const uint32_t start : {kPeriod * 1000, kPeriod * 1001, 0u, 0u - kPeriod, 0x7fff'0000u}) {
        for (const uint32_t in_period : {0u, 1u, 5000u, 30'000u, kPeriod - 1}) {
            for (const bool timestamps : {false, true}) {
                const auto good = [&](int64_t later) {
                    return good_after(start + in_period, later, timestamps);
                };
                EXPECT_TRUE(good(0) && good(60'000)) << start << " + " << in_period;
                EXPECT_TRUE(good(-5000)) << "clocks may differ: " << start << " + " << in_period;
                EXPECT_FALSE(good(126'100)) << start << " + " << in_period;
                EXPECT_FALSE(good(int64_t{10} * 60'000)) << start << " + " << in_period;
                EXPECT_FALSE(good(int64_t{24} * 3'600'000)) << start << " + " << in_period;
            }
        }
    }
}

TEST(SynCookie, SaysHowOldItIs) {
    for (const uint32_t at : {kNow, 0xffff'fffeu, 65'535u}) {
        const Answer answer(syn_with(test::linux_syn_options()), 0, at);
        for (const uint32_t age : {0u, 7u, 4096u, 10'000u, 60'000u}) {
            const uint32_t now = at + age;
            const uint16_t period = kr_cookie_period_of(answer.h.seq.value(), kr_cookie_latest(now));
            const int32_t said = kr_cookie_age_ms(period, answer.options().tsval(), now);
            EXPECT_GE(said, static_cast<int32_t>(age));
            EXPECT_LT(said, static_cast<int32_t>(age) + 4) << "units of 4 ms";
        }
    }
}

}  // namespace
}  // namespace keyrail
