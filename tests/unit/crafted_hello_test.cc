// SPDX-License-Identifier: Apache-2.0
// ClientHellos that no library makes, cut by hand: a table of (description, bytes, verdict, what was read).
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "dataplane/wire/client_hello.h"
#include "tests/support/in_two_pieces.h"

namespace keyrail {
namespace {

using Buffer = std::vector<uint8_t>;
using enum HelloStatus;

Buffer join(std::initializer_list<Buffer> parts) {
    Buffer all;
    for (const Buffer& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}
Buffer u16(size_t n) { return {static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)}; }
Buffer vector8(const Buffer& b) { return join({{static_cast<uint8_t>(b.size())}, b}); }
Buffer vector16(const Buffer& b) { return join({u16(b.size()), b}); }
Buffer fill(size_t n, uint8_t with) { return Buffer(n, with); }
Buffer text(const std::string& s) { return {s.begin(), s.end()}; }

Buffer extension(uint16_t type, const Buffer& body) { return join({u16(type), vector16(body)}); }
Buffer server_name(const std::string& name) {
    return extension(0, vector16(join({{0}, vector16(text(name))})));
}
Buffer versions(const Buffer& list) { return extension(43, vector8(list)); }
Buffer identity(const Buffer& name) { return join({vector16(name), fill(4, 0)}); }
Buffer psk(const Buffer& identities) {
    return extension(41, join({vector16(identities), vector16(vector8(fill(32, 0xbb)))}));
}

Buffer body(const Buffer& session_id, const Buffer& extensions, const Buffer& ciphers = {0x13, 1}) {
    return join({{3, 3}, fill(32, 0xaa), vector8(session_id), vector16(ciphers), {1, 0}, extensions});
}
Buffer message(const Buffer& content) { return join({{1, 0}, vector16(content)}); }
Buffer record(const Buffer& content, uint8_t type = 22, uint8_t minor = 1) {
    return join({{type, 3, minor}, vector16(content)});
}
Buffer hello(const Buffer& extensions, const Buffer& session_id = {}) {
    return record(message(body(session_id, vector16(extensions))));
}
Buffer sslv2(const Buffer& version, size_t challenge = 16, const Buffer& id = {}) {
    const Buffer content =
        join({{1}, version, u16(6), u16(id.size()), u16(challenge), fill(6, 0), id, fill(challenge, 0xcc)});
    return join({u16(0x8000 | content.size()), content});
}

std::string read(Bytes bytes) { return {bytes.begin(), bytes.end()}; }
size_t names(const ClientHello& hello) {
    std::array<SessionName, kMaxNames> found;
    return session_names(hello, found);
}

struct Case {
    std::string what;
    Buffer bytes;
    HelloStatus status;
    std::function<bool(const ClientHello&)> good = [](const ClientHello&) { return true; };
    HelloLimits limits = {};
};

const Buffer kOurs = fill(32, 7), kForeign = fill(48, 9);

const std::vector<Case> kUnderstood = {
    {"SSL 3.0 style: no extensions at all", record(message(body({}, {}))), complete,
     [](const ClientHello& h) {
         return h.version == number_of(TlsVersion::tls12) && !h.has_psk && h.server_name.empty();
     }},
    {"any record version 3.x", record(message(body({}, {})), 22, 9), complete},
    {"server name", hello(server_name("a.example")), complete,
     [](const ClientHello& h) { return read(h.server_name) == "a.example"; }},
    {"empty server_name extension", hello(extension(0, {})), complete},
    {"unknown type of server name in front",
     hello(extension(0, vector16(join({{7}, vector16({1}), {0}, vector16({'x'})})))), complete,
     [](const ClientHello& h) { return read(h.server_name) == "x"; }},
    {"GREASE among versions is no version", hello(versions({0xfa, 0xfa, 3, 4, 3, 3})), complete,
     [](const ClientHello& h) { return h.offers_tls13 && h.version == number_of(TlsVersion::tls13); }},
    {"GREASE among ciphers", record(message(body({}, {}, {0x3a, 0x3a, 0x13, 1}))), complete},
    {"GREASE extensions, twice the same", hello(join({extension(0x1a1a, {}), extension(0x1a1a, {0})})),
     complete},
    {"ECH: the outer name is what there is",
     hello(join({extension(0xfe0d, fill(60, 1)), server_name("outer")})), complete,
     [](const ClientHello& h) { return h.ech && read(h.server_name) == "outer"; }},
    {"psk_ke", hello(join({extension(45, vector8({0})), psk(identity(kOurs))})), complete,
     [](const ClientHello& h) { return h.psk_ke && !h.psk_dhe_ke && names(h) == 1; }},
    {"psk_dhe_ke and psk_ke", hello(extension(45, vector8({1, 0}))), complete,
     [](const ClientHello& h) { return h.psk_ke && h.psk_dhe_ke; }},
    {"ours behind eight foreign ones",
     hello(psk(join({identity(kForeign), identity(kForeign), identity(kForeign), identity(kForeign),
                     identity(kForeign), identity(kForeign), identity(kForeign), identity(fill(5, 1)),
                     identity(kOurs)}))),
     complete, [](const ClientHello& h) { return names(h) == 1; }},
    {"more of ours than we look at",
     hello(psk(join({identity(kOurs), identity(kOurs), identity(kOurs), identity(kOurs), identity(kOurs)}))),
     complete, [](const ClientHello& h) { return names(h) == kMaxNames; }},
    {"session id next to a PSK is not a name", hello(psk(identity(kForeign)), kOurs), complete,
     [](const ClientHello& h) { return names(h) == 0 && h.offers_session(); }},
    {"random session id of TLS 1.3 is no session", hello(versions({3, 4}), kOurs), complete,
     [](const ClientHello& h) { return names(h) == 1 && !h.offers_session(); }},
    {"stateless ticket: its key name", hello(extension(35, join({fill(16, 5), fill(100, 6)}))), complete,
     [](const ClientHello& h) {
         return h.has_session_ticket && h.offers_session() && h.ticket_key_name().size() == 16 &&
                h.ticket_key_name()[15] == 5;
     }},
    {"empty ticket: the client can take one", hello(extension(35, {})), complete,
     [](const ClientHello&
            h) { return h.has_session_ticket && !h.offers_session() && h.ticket_key_name().empty(); }},
    {"a name of ours is no stateless ticket", hello(psk(identity(kOurs))), complete,
     [](const ClientHello& h) { return h.ticket_key_name().empty(); }},
    {"key name of a foreign TLS 1.3 ticket", hello(psk(join({identity(kOurs), identity(kForeign)}))),
     complete,
     [](const ClientHello& h) { return h.ticket_key_name().size() == 16 && h.ticket_key_name()[0] == 9; }},
    {"SSLv2-compatible", sslv2({3, 1}), complete,
     [](const ClientHello&
            h) { return h.sslv2 && h.version == number_of(TlsVersion::tls10) && names(h) == 0 && !h.offers_session(); }},
    {"SSLv2-compatible with session id", sslv2({3, 0}, 32, fill(16, 4)), complete,
     [](const ClientHello& h) { return h.session_id.size() == 16 && !h.offers_session(); }},
    {"empty records between",
     join({record({}), record({1}), record({}), record({0, 0}), record(vector8(body({}, {})))}), complete},
    {"the next message in the same record", record(join({message(body({}, {})), {20, 0, 0, 0}})), complete},
};

const std::vector<Case> kRefused = {
    {"HTTP", text("GET / HTTP/1.1\r\n\r\n"), not_tls},
    {"ServerHello", record({2, 0, 0, 1, 0}), not_tls},
    {"record version 2.0", {22, 2, 0, 0, 1, 1}, not_tls},
    {"an empty record, then something else", join({record({}), {23, 3, 3}}), not_tls},
    {"alert in the middle of the message", join({record({1, 0}), record({2, 0}, 21)}), malformed},
    {"record longer than 2^14", {22, 3, 1, 0x40, 1, 1}, malformed},
    {"session id of 33 bytes", hello({}, fill(33, 1)), malformed,
     [](const ClientHello& h) { return h.session_id.empty(); }},
    {"odd cipher list", record(message(body({}, {}, {0x13, 1, 0}))), malformed},
    {"extension longer than the list", hello({0, 16, 0, 9, 0}), malformed},
    {"bytes behind the extensions", record(message(body({}, join({vector16({}), {0}})))), malformed},
    {"two server_name extensions", hello(join({server_name("a"), server_name("b")})), malformed,
     [](const ClientHello& h) { return read(h.server_name) == "a"; }},
    {"pre_shared_key is not the last", hello(join({psk(identity(kOurs)), server_name("a")})), malformed,
     [](const ClientHello& h) { return read(h.server_name) == "a"; }},
    {"identity longer than its list", hello(extension(41, vector16({0, 32, 1}))), malformed},
    {"protocol name longer than its list", hello(extension(16, vector16({3, 'h', '2'}))), malformed},
    {"16 MB", record({1, 0xff, 0, 0}), too_long},
    {"longer than allowed",
     hello(fill(400, 0)),
     too_long,
     [](const ClientHello&) { return true; },
     {.bytes = 300}},
    {"more records than allowed",
     join({record({1}), record({0}), record({0})}),
     too_long,
     [](const ClientHello&) { return true; },
     {.records = 2}},
    {"SSLv2 with lengths that do not add up", join({{0x80, 40}, sslv2({3, 1})}), not_tls},
    {"SSLv2 with a challenge of 8 bytes", sslv2({3, 1}, 8), not_tls},
};

class CraftedHello : public testing::TestWithParam<Case> {};

TEST_P(CraftedHello, IsJudged) {
    const Case& one = GetParam();
    std::array<uint8_t, kHelloMax> scratch;
    ClientHello read;
    const HelloResult result = parse_client_hello(one.bytes, scratch, one.limits, read);
    EXPECT_EQ(static_cast<int>(result.status), static_cast<int>(one.status)) << one.what;
    EXPECT_LE(result.offset, one.bytes.size()) << one.what;
    EXPECT_TRUE(one.good(read)) << one.what;
}

/// What is refused may be refused early; what is complete is "need more" until its last byte.
TEST_P(CraftedHello, EveryPrefixNeedsMoreOrIsJudgedTheSame) {
    const Case& one = GetParam();
    std::array<uint8_t, kHelloMax> scratch;
    ClientHello read;
    const HelloResult whole = parse_client_hello(one.bytes, scratch, one.limits, read);
    for (size_t n = 0; n < one.bytes.size(); n++) {
        const Buffer prefix(one.bytes.begin(), one.bytes.begin() + static_cast<ptrdiff_t>(n));
        const HelloResult part = parse_client_hello(prefix, scratch, one.limits, read);
        if (part.status != need_more) {
            ASSERT_EQ(static_cast<int>(part.status), static_cast<int>(one.status)) << one.what << ' ' << n;
            ASSERT_EQ(part.offset, whole.offset) << one.what << ' ' << n;
        }
        if (one.status != complete || n >= whole.offset) continue;
        ASSERT_EQ(static_cast<int>(part.status), static_cast<int>(need_more)) << one.what << ' ' << n;
        ASSERT_GT(part.offset, n) << one.what;
        ASSERT_LE(part.offset, whole.offset) << one.what << " asks for more than there will be, at " << n;
    }
}

TEST_P(CraftedHello, InTwoPiecesIsJudgedTheSameOrNotAtAll) {
    const Case& one = GetParam();
    for (size_t cut = 0; cut <= one.bytes.size(); cut += 1 + one.bytes.size() / 1000) {
        const test::Told told = test::told_in_two_pieces(one.bytes, cut, one.limits);
        ASSERT_NE(static_cast<int>(told), static_cast<int>(test::Told::something_else))
            << one.what << ' ' << cut;
        if (one.status != complete) {
            ASSERT_EQ(static_cast<int>(told), static_cast<int>(test::Told::nothing)) << one.what;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Understood, CraftedHello, testing::ValuesIn(kUnderstood));
INSTANTIATE_TEST_SUITE_P(Refused, CraftedHello, testing::ValuesIn(kRefused));

TEST(MalformedHello, OffsetIsInTheStreamAcrossRecords) {
    Buffer content = message(body(fill(33, 1), {}));  // the fault: byte 4 + 2 + 32 + 1 of the message
    const Buffer stream = join(
        {record({content.begin(), content.begin() + 20}), record({content.begin() + 20, content.end()})});
    std::array<uint8_t, kHelloMax> scratch;
    ClientHello read;
    const HelloResult result = parse_client_hello(stream, scratch, {}, read);
    EXPECT_EQ(result.offset, 39u + 2 * kRecordHeader);
    EXPECT_EQ(result.size, stream.size());
    EXPECT_EQ(result.records, 2);
}

}  // namespace
}  // namespace keyrail
