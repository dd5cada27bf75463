// SPDX-License-Identifier: Apache-2.0
// OpenSSL sessions to records and back; damaged records; names that say where the session is.
#include "control/hooks/session_codec.h"

#include <gtest/gtest.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "control/agent/name_keys.h"
#include "control/hooks/session_names.h"
#include "dataplane/common/hex.h"
#include "tests/support/temp_store.h"

namespace keyrail::hooks {
namespace {

using keyrail::testing::name_of;
using keyrail::testing::TempStore;

struct Free {
    void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using Session = std::unique_ptr<SSL_SESSION, Free>;
using Context = std::unique_ptr<SSL_CTX, Free>;
using Connection = std::unique_ptr<SSL, Free>;

constexpr uint64_t kNow = 1'700'000'000'000;

/// A server's SSL with these cipher suites for TLS 1.2.
struct Server {
    explicit Server(const char* ciphers) : context(SSL_CTX_new(TLS_server_method())) {
        EXPECT_EQ(SSL_CTX_set_cipher_list(context.get(), ciphers), 1);
        ssl.reset(SSL_new(context.get()));
    }
    Context context;
    Connection ssl;
};

const SSL_CIPHER* cipher(const SSL* ssl, const char* name) {
    const STACK_OF(SSL_CIPHER)* all = SSL_get_ciphers(ssl);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        if (std::strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, i)), name) == 0)
            return sk_SSL_CIPHER_value(all, i);
    }
    return nullptr;
}

Session make_session(int version = TLS1_3_VERSION, long timeout_s = 300) {
    const Server server("ECDHE-RSA-AES128-GCM-SHA256");
    Session session(SSL_SESSION_new());
    const SessionName name = name_of(1);
    const std::vector<uint8_t> secret(48, 0x5a);
    EXPECT_EQ(SSL_SESSION_set1_id(session.get(), name.data(), name.size()), 1);
    EXPECT_EQ(SSL_SESSION_set1_id_context(session.get(), name.data(), 20), 1);
    EXPECT_EQ(SSL_SESSION_set_protocol_version(session.get(), version), 1);
    EXPECT_EQ(SSL_SESSION_set1_master_key(session.get(), secret.data(), secret.size()), 1);
    EXPECT_EQ(
        SSL_SESSION_set_cipher(session.get(), cipher(server.ssl.get(), version == TLS1_3_VERSION
                                                                           ? "TLS_AES_128_GCM_SHA256"
                                                                           : "ECDHE-RSA-AES128-GCM-SHA256")),
        1);
    SSL_SESSION_set_time(session.get(), kNow / 1000);
    SSL_SESSION_set_timeout(session.get(), timeout_s);
    return session;
}

std::vector<uint8_t> master_key(const SSL_SESSION* session) {
    std::vector<uint8_t> key(64);
    key.resize(SSL_SESSION_get_master_key(session, key.data(), key.size()));
    return key;
}

TEST(SessionCodec, ComesBackAsItWas) {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        const Session session = make_session(version);
        SessionRecord record;
        const SiteMark site{7, 8, 9};
        ASSERT_TRUE(encode(session.get(), {}, {}, site, kNow, record));
        EXPECT_EQ(record.name, name_of(1));
        EXPECT_EQ(number_of(record.tls_version), version);
        EXPECT_EQ(record.single_use, version == TLS1_3_VERSION);
        EXPECT_EQ(record.site, site);
        EXPECT_EQ(record.created_ms, kNow);
        EXPECT_EQ(record.authenticated_ms, kNow);
        EXPECT_EQ(record.expires_ms, kNow + 300'000);
        EXPECT_EQ(record.uses, 0U);
        const Session back(decode(record, kNow + 1000));
        ASSERT_TRUE(back);
        EXPECT_EQ(master_key(back.get()), master_key(session.get()));
        EXPECT_EQ(SSL_SESSION_get0_cipher(back.get()), SSL_SESSION_get0_cipher(session.get()));
        EXPECT_EQ(SSL_SESSION_get_time(back.get()), static_cast<long>(kNow / 1000));
        EXPECT_EQ(SSL_SESSION_get_timeout(back.get()), 300);
    }
}

TEST(SessionCodec, LifetimeCountsFromTheFullHandshake) {
    const Session session = make_session(TLS1_3_VERSION, 300);
    SessionRecord record;
    const Lineage renewed{kNow - 7'000'000, 41, {9}};
    ASSERT_TRUE(encode(session.get(), renewed, {}, {}, kNow, record));
    EXPECT_EQ(record.authenticated_ms, kNow - 7'000'000);
    EXPECT_EQ(record.expires_ms, kNow + 200'000) << "300 s of its own, but only 200 s of 7200 are left";
    EXPECT_EQ(record.uses, 41U);
    EXPECT_EQ(record.digest[0], 9);
    EXPECT_FALSE(encode(session.get(), {kNow - 7'200'000, 1, {}}, {}, {}, kNow, record)) << "nothing is left";
}

TEST(SessionCodec, NamesThatAreNotOursAreNotStored) {
    const Session session = make_session();
    SessionRecord record;
    for (const unsigned int size : {0U, 16U, 31U}) {
        SSL_SESSION_set1_id(session.get(), name_of(1).data(), size);
        EXPECT_FALSE(encode(session.get(), {}, {}, {}, kNow, record)) << size;
    }
}

TEST(SessionCodec, TooLargeIsNotStored) {
    const Session session = make_session();
    const std::vector<uint8_t> data(kMaxSessionDer, 1);
    ASSERT_EQ(SSL_SESSION_set1_ticket_appdata(session.get(), data.data(), data.size()), 1);
    SessionRecord record;
    EXPECT_FALSE(encode(session.get(), {}, {}, {}, kNow, record));
}

/// What nginx made with OpenSSL 3.0.22 (Debian 12) and 3.5.9 (Debian 13), with a client certificate and
/// without: each of them reads it all, so that blades of both share sessions.
TEST(SessionCodec, SessionsOfOtherVersionsOfOpenssl) {
    std::ifstream recorded(std::string(KEYRAIL_SOURCE) + "/tests/protocol/sessions-openssl.txt");
    size_t count = 0;
    for (std::string openssl, version, certificate, hex; recorded >> openssl >> version >> certificate >> hex;
         count++) {
        SCOPED_TRACE(fmt::format("OpenSSL {}, TLS {}, certificate {}", openssl, version, certificate));
        const std::string der = *from_hex(hex);
        const size_t name = der.find("\x04\x20") + 2;  // the first OCTET STRING of 32 bytes
        SessionRecord record;
        std::copy_n(der.begin() + static_cast<ptrdiff_t>(name), record.name.size(), record.name.begin());
        std::ranges::copy(der, record.der.begin());
        record.created_ms = kNow;
        record.der_size = static_cast<uint16_t>(der.size());
        record.tls_version = version == "1.3" ? TlsVersion::tls13 : TlsVersion::tls12;
        const Session session(decode(record, kNow));
        ASSERT_TRUE(session);
        EXPECT_EQ(SSL_SESSION_get0_peer(session.get()) != nullptr, certificate == "ann");
        EXPECT_STREQ(SSL_SESSION_get0_hostname(session.get()), "a.test");
        SessionRecord again;
        ASSERT_TRUE(write_der(session.get(), again));
        EXPECT_EQ(again.der_size, record.der_size) << "it can move back";
        EXPECT_EQ(ERR_peek_error(), 0U);
    }
    EXPECT_EQ(count, 8U);
}

TEST(SessionCodec, ClockOfAnotherBladeThatIsAhead) {
    const Session session = make_session();
    SSL_SESSION_set_time(session.get(), kNow / 1000 + 20);
    SessionRecord record;
    ASSERT_TRUE(encode(session.get(), {}, {}, {}, kNow + 20'000, record));
    EXPECT_EQ(SSL_SESSION_get_time(Session(decode(record, kNow)).get()), static_cast<long>(kNow / 1000));
    record.created_ms = kNow - 5000;  // by this blade's clock, as it says when it comes from another one
    EXPECT_EQ(SSL_SESSION_get_time(Session(decode(record, kNow)).get()), static_cast<long>(kNow / 1000 - 5));
}

TEST(SessionCodec, PolicyOfTheService) {
    const Session newer = make_session(TLS1_3_VERSION), older = make_session(TLS1_2_VERSION);
    SessionPolicy policy;
    policy.service = ServiceId::of("www");
    SessionRecord record;
    ASSERT_TRUE(encode(newer.get(), {}, policy, {}, kNow, record));
    EXPECT_TRUE(record.single_use);
    EXPECT_EQ(record.service, ServiceId::of("www"));
    for (const Tickets tickets : {Tickets::kEarlyDataOnce, Tickets::kReusable}) {
        policy.tickets = tickets;
        ASSERT_TRUE(encode(newer.get(), {}, policy, {}, kNow, record));
        EXPECT_FALSE(record.single_use);
    }
    ASSERT_TRUE(encode(newer.get(), {}, policy, {}, kNow, record));
    EXPECT_FALSE(record.single_use);
    policy.tickets = Tickets::kSingleUse;
    ASSERT_TRUE(encode(older.get(), {}, policy, {}, kNow, record));
    EXPECT_FALSE(record.single_use) << "its name never changes";
}

TEST(SessionCodec, RecordAndSessionMustAgree) {
    SessionRecord record;
    ASSERT_TRUE(encode(make_session().get(), {}, {}, {}, kNow, record));
    record.name[5] ^= 1;
    EXPECT_FALSE(Session(decode(record, kNow)));
    record.name[5] ^= 1;
    record.tls_version = TlsVersion::tls12;
    EXPECT_FALSE(Session(decode(record, kNow)));
}

TEST(SessionCodec, DamagedSessionsNeverCrash) {
    SessionRecord record;
    ASSERT_TRUE(encode(make_session().get(), {}, {}, {}, kNow, record));
    const uint16_t size = record.der_size;
    for (uint16_t shorter = 0; shorter < size; shorter++) {
        record.der_size = shorter;
        EXPECT_FALSE(Session(decode(record, kNow))) << shorter;
    }
    record.der_size = size;
    std::mt19937 random(3);
    for (int i = 0; i < 20000; i++) {
        const size_t at = random() % size;
        const uint8_t before = record.der[at];
        record.der[at] = static_cast<uint8_t>(random());
        const Session back(decode(record, kNow));
        record.der[at] = before;
    }
}

TEST(SessionCodec, CipherMustBeAllowedHere) {
    const Session session = make_session(TLS1_2_VERSION);
    EXPECT_TRUE(cipher_allowed(Server("ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA").ssl.get(), session.get()));
    EXPECT_FALSE(cipher_allowed(Server("ECDHE-RSA-AES256-GCM-SHA384").ssl.get(), session.get()));
}

StoreControl control_of(BladeId blade, uint8_t generation, uint8_t key_byte) {
    StoreControl control;
    control.blade_id = blade;
    control.name_key_count = 1;
    control.name_keys[0].generation = generation;
    control.name_keys[0].key.fill(key_byte);
    return control;
}

TEST(SessionNameMaker, SaysWhereTheSessionIs) {
    TempStore store;
    store->set_control(control_of(4095, 200, 7));
    NameKeys keys;
    NameKeys::Key key;
    key.fill(7);
    keys.set(200, key);
    std::set<SessionName> seen;
    for (int i = 0; i < 1000; i++) {
        SessionName name;
        ASSERT_TRUE(make_session_name(*store, name));
        EXPECT_EQ(name[0], 200);
        EXPECT_EQ(keys.home(name), 4095);
        EXPECT_TRUE(seen.insert(name).second);
    }
}

TEST(SessionNameMaker, FollowsANewKeyAtOnce) {
    TempStore store;
    SessionName name;
    ASSERT_TRUE(make_session_name(*store, name)) << "no key yet: a random name";
    NameKeys keys;
    for (uint8_t generation = 1; generation < 20; generation++) {
        NameKeys::Key key;
        key.fill(generation);
        keys.set(generation, key);
        store->set_control(control_of(BladeId::or_none(generation), generation, generation));
        std::thread([&] { ASSERT_TRUE(make_session_name(*store, name)); }).join();
        EXPECT_EQ(keys.home(name), generation);
        ASSERT_TRUE(make_session_name(*store, name));
        EXPECT_EQ(name[0], generation);
        EXPECT_EQ(keys.home(name), generation);
    }
}

TEST(SessionNameMaker, KnowsItsOwn) {
    TempStore store;
    SessionName ours, older, foreign;
    ASSERT_TRUE(make_session_name(*store, foreign));
    EXPECT_FALSE(is_ours(*store, foreign)) << "no key, no names";
    store->set_control(control_of(1, 3, 30));
    ASSERT_TRUE(make_session_name(*store, older));
    StoreControl control = control_of(1, 4, 40);
    control.name_key_count = 2;
    control.name_keys[1].generation = 3;
    control.name_keys[1].key.fill(30);
    store->set_control(control);
    ASSERT_TRUE(make_session_name(*store, ours));
    EXPECT_TRUE(is_ours(*store, ours));
    EXPECT_TRUE(is_ours(*store, older)) << "of the generation before";
    for (int generation = 0; generation < 256; generation++) {
        foreign[0] = static_cast<uint8_t>(generation);
        EXPECT_FALSE(is_ours(*store, foreign));
    }
    store->set_control(control_of(1, 4, 40));
    EXPECT_FALSE(is_ours(*store, older)) << "of a generation that is gone";
}

TEST(NameKeys, WhatIsNotOursHasNoHome) {
    NameKeys keys;
    NameKeys::Key key{};
    keys.set(0, key);
    EXPECT_FALSE(keys.home(SessionName{})) << "a block that decrypts to garbage";
    SessionName other{};
    other[0] = 1;
    EXPECT_FALSE(keys.home(other)) << "a generation without a key";
}

}  // namespace
}  // namespace keyrail::hooks
