// SPDX-License-Identifier: Apache-2.0
// Sealing of sessions, and pool keys on their way from blade to blade.
#include "control/repository/sealer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <set>

#include "chassis.pb.h"
#include "control/pki/ca.h"
#include "control/protocol/file.h"
#include "control/repository/pool_key.h"
#include "tests/support/blade_ids.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using ::testing::HasSubstr;
using testing::TempDirectory;

SealingKey key_of(uint8_t byte) {
    PoolKeyBytes bytes;
    bytes.fill(byte);
    return SealingKey(bytes);
}

TEST(Sealer, GivesTheKnownAnswer) {
    const auto proven = prove_sealing();
    EXPECT_TRUE(proven) << proven.error().message;
}

TEST(Sealer, OpensWhatItSealed) {
    const SealingKey key = key_of(1);
    std::vector<SealingJob> jobs;
    for (size_t i = 0; i < 300; i++)  // more than a burst
        jobs.push_back({&key, "context " + std::to_string(i), std::string(i * 7, static_cast<char>(i))});
    ASSERT_TRUE(seal(jobs));
    std::set<std::string> nonces;
    for (size_t i = 0; i < jobs.size(); i++) {
        EXPECT_EQ(jobs[i].text.size(), kSealNonce + i * 7 + kSealTag);
        nonces.insert(jobs[i].text.substr(0, kSealNonce));
        const auto plain = unseal(key, jobs[i].context, jobs[i].text);
        ASSERT_TRUE(plain) << i;
        EXPECT_EQ(*plain, std::string(i * 7, static_cast<char>(i)));
    }
    EXPECT_EQ(nonces.size(), jobs.size());
}

TEST(Sealer, OpensNothingElse) {
    const SealingKey key = key_of(1), other = key_of(2);
    SealingJob job{&key, "context", "secret"};
    ASSERT_TRUE(seal({&job, 1}));
    EXPECT_EQ(job.text.find("secret"), std::string::npos);
    EXPECT_FALSE(unseal(other, "context", job.text));
    EXPECT_FALSE(unseal(key, "another context", job.text));
    for (size_t i = 0; i < job.text.size(); i++) {
        std::string damaged = job.text;
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        EXPECT_FALSE(unseal(key, "context", damaged)) << i;
        EXPECT_FALSE(unseal(key, "context", std::string_view(job.text).substr(0, i))) << i;
    }
}

class PoolKeys : public ::testing::Test {
  protected:
    PoolKeys() {
        EXPECT_TRUE(pki::init_chassis(directory_.path() / "pki", "test"));
        for (const BladeId id : testing::blade_ids(2))
            EXPECT_TRUE(pki::certify(directory_.path() / "pki", Identity::of_blade(id)));
        key_.fill(7);
    }
    TlsContext tls(const std::string& stem, const std::string& pki = "pki") {
        const auto dir = directory_.path() / pki;
        return *TlsContext::load({dir / "ca.pem", dir / (stem + ".pem"), dir / (stem + ".key")});
    }
    static std::string der(const TlsContext& of) {
        uint8_t* raw = nullptr;
        const int size = i2d_X509(SSL_CTX_get0_certificate(of.native()), &raw);
        std::string out(reinterpret_cast<const char*>(raw), static_cast<size_t>(size));
        OPENSSL_free(raw);
        return out;
    }

    TempDirectory directory_;
    PoolKeyBytes key_;
};

TEST_F(PoolKeys, GoFromBladeToBlade) {
    const TlsContext one = tls("blade-1"), two = tls("blade-2");
    const auto wrapped = wrap_pool_key(key_, "web", 3, der(two), one);
    ASSERT_TRUE(wrapped) << wrapped.error().message;
    const auto key = unwrap_pool_key(*wrapped, two);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_EQ(*key, key_);
    EXPECT_EQ(wrapped->SerializeAsString().find(std::string(key_.begin(), key_.end())), std::string::npos);
    EXPECT_THAT(unwrap_pool_key(*wrapped, one).error().message, HasSubstr("another blade"));
}

TEST_F(PoolKeys, AreWrappedForBladesOfThisChassisOnly) {
    ASSERT_TRUE(pki::init_chassis(directory_.path() / "foreign", "foreign"));
    ASSERT_TRUE(pki::certify(directory_.path() / "foreign", Identity::of_blade(2)));
    const TlsContext one = tls("blade-1"), control = tls("control"), foreign = tls("blade-2", "foreign");
    EXPECT_THAT(wrap_pool_key(key_, "web", 1, der(control), one).error().message, HasSubstr("no member"));
    EXPECT_THAT(wrap_pool_key(key_, "web", 1, der(foreign), one).error().message, HasSubstr("refused"));
    EXPECT_THAT(wrap_pool_key(key_, "web", 1, "nonsense", one).error().message, HasSubstr("cannot be read"));
    // Nor is one taken from anybody else: keyraild cannot give out a key that it knows.
    const auto by_control = wrap_pool_key(key_, "web", 1, der(one), control);
    ASSERT_TRUE(by_control);
    EXPECT_THAT(unwrap_pool_key(*by_control, one).error().message, HasSubstr("no member"));
}

TEST_F(PoolKeys, ThatWereChangedOnTheWayAreRefused) {
    const TlsContext one = tls("blade-1"), two = tls("blade-2");
    const auto wrapped = wrap_pool_key(key_, "web", 3, der(two), one);
    ASSERT_TRUE(wrapped);
    const auto refused = [&](auto change) {
        chassis::PoolKey changed = *wrapped;
        change(changed);
        return !unwrap_pool_key(changed, two);
    };
    EXPECT_TRUE(refused([](auto& key) { key.set_service("mail"); }));
    EXPECT_TRUE(refused([](auto& key) { key.set_generation(4); }));
    EXPECT_TRUE(refused([](auto& key) { key.set_wrapped("short"); }));
    EXPECT_TRUE(refused([](auto& key) { (*key.mutable_wrapped())[70] ^= 1; }));
    EXPECT_TRUE(refused([](auto& key) { key.set_signature(""); }));
    EXPECT_TRUE(refused([&](auto& key) { key.set_by(der(two)); }));
    EXPECT_FALSE(refused([](auto&) {}));
}

}  // namespace
}  // namespace keyrail
