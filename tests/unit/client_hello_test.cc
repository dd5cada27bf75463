// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/client_hello.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/hellos.h"
#include "tests/support/in_two_pieces.h"

namespace keyrail {
namespace {

using test::client_hello;

struct Parsed {
    std::vector<uint8_t> bytes;
    std::array<uint8_t, kHelloMax> scratch;
    ClientHello hello;
    HelloResult result;
    explicit Parsed(std::vector<uint8_t> stream) : bytes(std::move(stream)) {
        result = parse_client_hello(bytes, scratch, {}, hello);
    }
};

std::string text(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

SessionName name(uint8_t fill) {
    SessionName n;
    n.fill(fill);
    return n;
}

TEST(ClientHello, Tls13WithPsk) {
    const Parsed p(client_hello({.alpn = {2, 'h', '2'}, .name = name(7)}));
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    EXPECT_EQ(p.result.offset, p.bytes.size());
    EXPECT_EQ(p.hello.legacy_version, number_of(TlsVersion::tls12));
    EXPECT_TRUE(p.hello.offers_tls13);
    EXPECT_TRUE(p.hello.has_psk);
    EXPECT_FALSE(p.hello.early_data);
    EXPECT_EQ(text(p.hello.server_name), "www.keyrail.test");
    EXPECT_EQ(text(p.hello.alpn), "\x02h2");
    std::array<SessionName, kMaxNames> names;
    ASSERT_EQ(session_names(p.hello, names), 1u);
    EXPECT_EQ(names[0], name(7));
}

/// The shape of today's hello, whether OpenSSL made its share, or, where it cannot, this test.
TEST(ClientHello, PostQuantumSharesTakeTwoSegments) {
    const std::vector<uint8_t> groups = {0, 10, 0, 14, 0, 12, 0x11, 0xec, 0, 29};
    const std::vector<uint8_t> shares = {0, 51, 4, 0xea, 4, 0xe8, 0x11, 0xec, 4, 0xc0};
    const auto in = [](const std::vector<uint8_t>& whole, const std::vector<uint8_t>& part) {
        return !std::ranges::search(whole, part).empty();
    };
    const auto today = client_hello({.name = name(7)});
    EXPECT_GT(today.size(), test::kFullSegment);
    EXPECT_LE(today.size(), 2 * test::kFullSegment);
    EXPECT_TRUE(in(today, groups));
    EXPECT_TRUE(in(today, shares));
    const Parsed p(today);
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    EXPECT_EQ(p.result.offset, today.size());
    std::array<SessionName, kMaxNames> names;
    ASSERT_EQ(session_names(p.hello, names), 1u);
    EXPECT_EQ(names[0], name(7));
    EXPECT_LE(client_hello({.name = name(7), .post_quantum = false}).size(), test::kFullSegment);
    EXPECT_LE(client_hello({.max_version = TlsVersion::tls12}).size(), test::kFullSegment);
}

TEST(ClientHello, EarlyDataFlag) {
    const Parsed p(client_hello({.name = name(7), .early_data = true}));
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    EXPECT_TRUE(p.hello.early_data);
    EXPECT_LE(p.result.offset, p.bytes.size());  // early data may follow in the same flight
}

TEST(ClientHello, Tls12SessionId) {
    const Parsed p(client_hello({.max_version = TlsVersion::tls12, .name = name(9)}));
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    EXPECT_FALSE(p.hello.offers_tls13);
    std::array<SessionName, kMaxNames> names;
    ASSERT_EQ(session_names(p.hello, names), 1u);
    EXPECT_EQ(names[0], name(9));
}

TEST(ClientHello, Tls12TicketBeginsWithAName) {
    std::array<SessionName, kMaxNames> names;
    std::vector<uint8_t> ticket(200, 0xaa);
    std::ranges::copy(name(9), ticket.begin());
    const Parsed p(client_hello({.max_version = TlsVersion::tls12, .ticket = ticket}));
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    ASSERT_EQ(session_names(p.hello, names), 1u);
    EXPECT_EQ(names[0], name(9));
    ticket.resize(32);
    EXPECT_EQ(session_names(Parsed(client_hello({.max_version = TlsVersion::tls12, .ticket = ticket})).hello,
                            names),
              0u)
        << "only a name";
}

/// RFC 5077 section 3.4: the id of a client with a ticket is made up. In TLS 1.3 identities are all that
/// counts.
TEST(ClientHello, NamesInTheirOrder) {
    std::array<SessionName, kMaxNames> names;
    const SessionName id = name(1);
    std::vector<uint8_t> ticket(200, 0xaa);
    ClientHello hello{.session_id = id};
    ASSERT_EQ(session_names(hello, names), 1u);
    EXPECT_EQ(names[0], name(1));
    std::ranges::copy(name(2), ticket.begin());
    hello.session_ticket = ticket;
    ASSERT_EQ(session_names(hello, names), 1u);
    EXPECT_EQ(names[0], name(2));
    hello.session_ticket = Bytes(ticket).first(20);
    EXPECT_EQ(session_names(hello, names), 0u) << "somebody's ticket, and so no id";
    hello.has_psk = true;
    EXPECT_EQ(session_names(hello, names), 0u);
}

TEST(ClientHello, NoNameWithoutSession) {
    const Parsed p(client_hello({.max_version = TlsVersion::tls12}));
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    std::array<SessionName, kMaxNames> names;
    EXPECT_EQ(session_names(p.hello, names), 0u);
}

TEST(ClientHello, EveryPrefixNeedsMoreAndSaysHowMuch) {
    const auto whole = client_hello({.name = name(3)});
    for (size_t n = 0; n < whole.size(); n++) {
        const Parsed p({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n)});
        ASSERT_EQ(p.result.status, HelloStatus::need_more) << n;
        ASSERT_GT(p.result.offset, n);
        ASSERT_LE(p.result.offset, whole.size()) << "asks for more than there will be, at " << n;
    }
}

TEST(ClientHello, AcrossRecordsOfAnySize) {
    const auto whole = client_hello({.name = name(3)});
    for (const size_t size : {30u, 100u, 517u, 1000u}) {
        const Parsed p(test::in_records_of(whole, size));
        ASSERT_EQ(p.result.status, HelloStatus::complete) << size;
        EXPECT_EQ(p.result.offset, p.bytes.size());
        std::array<SessionName, kMaxNames> names;
        ASSERT_EQ(session_names(p.hello, names), 1u);
        EXPECT_EQ(names[0], name(3));
        for (size_t n = 0; n < p.bytes.size(); n += 7) {
            const Parsed part({p.bytes.begin(), p.bytes.begin() + static_cast<ptrdiff_t>(n)});
            ASSERT_EQ(part.result.status, HelloStatus::need_more) << size << ' ' << n;
            ASSERT_GT(part.result.offset, n);
            ASSERT_LE(part.result.offset, p.bytes.size());
        }
    }
}

TEST(ClientHello, InTwoPieces) {
    const auto whole = client_hello({.alpn = {2, 'h', '2'}, .name = name(3)});
    EXPECT_EQ(test::told_in_two_pieces(whole, test::kFullSegment, {}), test::Told::the_same)
        << "today's hello, as it comes: its key share lies in both";
    size_t told = 0;
    for (size_t cut = 0; cut <= whole.size(); cut++) {
        const test::Told one = test::told_in_two_pieces(whole, cut, {});
        ASSERT_NE(one, test::Told::something_else) << cut;
        told += one == test::Told::the_same ? 1 : 0;
    }
    EXPECT_GT(told, 1200u) << "wherever the share is cut";
    auto longer = whole;  // data behind it
    longer.insert(longer.end(), {23, 3, 3, 0, 2, 0, 0});
    EXPECT_EQ(test::told_in_two_pieces(longer, test::kFullSegment, {}), test::Told::the_same);
    EXPECT_EQ(test::told_in_two_pieces(whole, test::kFullSegment, {.bytes = 1500}), test::Told::nothing);
    const auto records = test::in_records_of(whole, 1600);
    EXPECT_EQ(test::told_in_two_pieces(records, test::kFullSegment, {}), test::Told::nothing);
}

TEST(ClientHello, InTwoPiecesEveryByteFlipped) {
    const auto whole = client_hello({.alpn = {2, 'h', '2'}, .name = name(3), .early_data = true});
    for (const size_t cut : {size_t{60}, size_t{200}, test::kFullSegment, whole.size() - 90}) {
        for (size_t i = 0; i < whole.size(); i++) {
            for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
                auto broken = whole;
                broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
                ASSERT_NE(test::told_in_two_pieces(broken, cut, {}), test::Told::something_else)
                    << cut << ' ' << i;
            }
        }
    }
}

TEST(ClientHello, EveryCutIntoTwoRecords) {
    const auto whole = client_hello({.name = name(3)});
    for (size_t n = 1; n < whole.size() - 5; n++) {
        std::vector<uint8_t> cut = whole;
        cut[3] = static_cast<uint8_t>(n >> 8);
        cut[4] = static_cast<uint8_t>(n);
        const size_t rest = whole.size() - 5 - n;
        cut.insert(cut.begin() + static_cast<ptrdiff_t>(5 + n),
                   {22, 3, 3, static_cast<uint8_t>(rest >> 8), static_cast<uint8_t>(rest)});
        const Parsed p(cut);
        ASSERT_EQ(p.result.status, HelloStatus::complete) << n;
        ASSERT_EQ(p.result.size, cut.size());
        ASSERT_EQ(p.result.records, 2);
        ASSERT_EQ(text(p.hello.server_name), "www.keyrail.test");
        std::array<SessionName, kMaxNames> names;
        ASSERT_EQ(session_names(p.hello, names), 1u) << n;
        ASSERT_EQ(names[0], name(3));
    }
}

TEST(ClientHello, OneByteRecordsAreReadWhereTheyAreAllowed) {
    const auto stream = test::in_records_of(client_hello({.name = name(3), .post_quantum = false}), 1);
    EXPECT_EQ(Parsed(stream).result.status, HelloStatus::too_long);
    std::array<uint8_t, kHelloMax> scratch;
    ClientHello hello;
    const HelloResult result = parse_client_hello(stream, scratch, {.records = 1000}, hello);
    EXPECT_EQ(result.status, HelloStatus::complete);
    EXPECT_EQ(result.records, stream.size() / 6);
}

TEST(ClientHello, DataBehindTheHelloIsNotItsBusiness) {
    auto stream = client_hello();
    const size_t hello_size = stream.size();
    stream.insert(stream.end(), {23, 3, 3, 0, 2, 0, 0});
    const Parsed p(stream);
    ASSERT_EQ(p.result.status, HelloStatus::complete);
    EXPECT_EQ(p.result.offset, hello_size);
}

TEST(ClientHello, WhatIsNotTls) {
    const std::string http = "GET / HTTP/1.1\r\n\r\n";
    EXPECT_EQ(Parsed({http.begin(), http.end()}).result.status, HelloStatus::not_tls);
    EXPECT_EQ(Parsed({22, 2, 0, 0, 1, 1}).result.status, HelloStatus::not_tls);
    EXPECT_EQ(Parsed({22, 3, 1, 0, 5, 2, 0, 0, 1, 0}).result.status, HelloStatus::not_tls);  // a ServerHello
    EXPECT_EQ(Parsed({0x80, 0x2e, 1, 2, 1}).result.status, HelloStatus::not_tls);            // SSLv2 2.1
}

TEST(ClientHello, MalformedRecordsAndLengths) {
    EXPECT_EQ(Parsed({22, 3, 1, 0x48, 0, 1}).result.status, HelloStatus::malformed);          // > 2^14
    EXPECT_EQ(Parsed({22, 3, 1, 0, 8, 1, 0xff, 0, 0}).result.status, HelloStatus::too_long);  // 16 MB hello
    auto whole = client_hello();
    whole[43] = 200;  // session id longer than 32
    EXPECT_EQ(Parsed(whole).result.status, HelloStatus::malformed);
}

TEST(ClientHello, EveryByteFlippedNeverCrashes) {
    const auto whole = client_hello({.alpn = {2, 'h', '2'}, .name = name(1), .early_data = true});
    for (size_t i = 0; i < whole.size(); i++) {
        for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
            auto broken = whole;
            broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
            const Parsed p(broken);
            std::array<SessionName, kMaxNames> names;
            if (p.result.status == HelloStatus::complete) session_names(p.hello, names);
        }
    }
}

}  // namespace
}  // namespace keyrail
