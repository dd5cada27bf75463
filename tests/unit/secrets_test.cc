// SPDX-License-Identifier: Apache-2.0
// The chassis' keys: the same after a restart, sealed on the disk, never replaced in silence.
#include "control/daemon/keys/secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "control/daemon/keys/key_rotation.h"
#include "control/daemon/keys/sealing.h"
#include "control/protocol/file.h"
#include "tests/support/session_names.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

class SecretsTest : public ::testing::Test {
  protected:
    SecretsTest() {
        char name[] = "/dev/shm/keyrail-secrets-XXXXXX";
        dir = mkdtemp(name);
    }
    ~SecretsTest() override { fs::remove_all(dir); }
    [[nodiscard]] std::string error() const {
        const auto secrets = Secrets::load_or_create(dir);
        return secrets ? "" : secrets.error().message;
    }
    static mode_t mode(const fs::path& file) {
        struct stat status{};
        EXPECT_EQ(::stat(file.c_str(), &status), 0);
        return status.st_mode & 07777u;
    }
    fs::path dir;
};

TEST_F(SecretsTest, TheSameAfterARestart) {
    const auto first = Secrets::load_or_create(dir), second = Secrets::load_or_create(dir);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->cookie_keys(), second->cookie_keys());
    EXPECT_EQ(first->name_keys(), second->name_keys());
    ASSERT_EQ(first->cookie_keys().size(), 1u);
    EXPECT_TRUE(first->cookie_keys()[0].current);
    EXPECT_TRUE(first->name_keys()[0].current);
}

TEST_F(SecretsTest, EveryChassisHasItsOwn) {
    const auto first = Secrets::create(), second = Secrets::create();
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->name_keys(), second->name_keys());
    EXPECT_NE(first->cookie_keys(), second->cookie_keys());
}

TEST_F(SecretsTest, SealedAndPrivateOnTheDisk) {
    const auto secrets = Secrets::load_or_create(dir);
    ASSERT_TRUE(secrets);
    EXPECT_EQ(mode(dir / "keys.sealed"), 0600u);
    EXPECT_EQ(mode(dir / "seal.key"), 0600u);
    const auto& key = secrets->name_keys()[0].key.bytes;
    const std::string plain(key.begin(), key.end());
    for (const auto& entry : fs::directory_iterator(dir))
        EXPECT_THAT(*read_file(entry.path(), 65536), Not(HasSubstr(plain))) << entry.path();
}

TEST_F(SecretsTest, ADamagedFileIsAnError) {
    ASSERT_EQ(error(), "");
    const auto whole = *read_file(dir / "keys.sealed", 65536);
    for (size_t i = 0; i < whole.size(); i += 7) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        ASSERT_TRUE(replace_file(dir / "keys.sealed", damaged, 0600));
        ASSERT_THAT(error(), HasSubstr("does not open with this key")) << i;
    }
    ASSERT_TRUE(replace_file(dir / "keys.sealed", whole.substr(0, 20), 0600));
    EXPECT_THAT(error(), HasSubstr("too short"));
    ASSERT_TRUE(replace_file(dir / "keys.sealed", whole, 0600));
    EXPECT_EQ(error(), "");
}

TEST_F(SecretsTest, AMissingSealKeyIsAnErrorAndNotReplaced) {
    ASSERT_EQ(error(), "");
    fs::remove(dir / "seal.key");
    EXPECT_THAT(error(), HasSubstr("seal.key: not there"));
    EXPECT_FALSE(fs::exists(dir / "seal.key"));
}

TEST_F(SecretsTest, ASealKeyThatOthersReadIsRefused) {
    ASSERT_EQ(error(), "");
    ::chmod((dir / "seal.key").c_str(), 0644);
    EXPECT_THAT(error(), HasSubstr("chmod 600"));
}

TEST_F(SecretsTest, PurposeIsPartOfTheSeal) {
    const auto key = SealKey::load(dir / "k", true);
    ASSERT_TRUE(key);
    const auto sealed = key->seal("text", "one");
    ASSERT_TRUE(sealed);
    EXPECT_EQ(key->unseal(*sealed, "one").value_or(""), "text");
    EXPECT_FALSE(key->unseal(*sealed, "two"));
    EXPECT_NE(*key->seal("text", "one"), *sealed);  // a nonce of its own each time
}

TEST_F(SecretsTest, HomeOfAName) {
    const auto secrets = Secrets::create();
    ASSERT_TRUE(secrets);
    const Secrets::Key& key = secrets->name_keys()[0];
    SessionName name = keyrail::testing::name_at(key.key.bytes, static_cast<uint8_t>(key.id), 77, 1);
    EXPECT_EQ(secrets->home(name), 77);
    name[5] ^= 1;
    EXPECT_EQ(secrets->home(name), std::nullopt);  // a forgery
    name[5] ^= 1;
    name[31] ^= 1;
    EXPECT_EQ(secrets->home(name), std::nullopt);  // another
    name[31] ^= 1;
    name[0]++;
    EXPECT_EQ(secrets->home(name), std::nullopt);  // a generation that we do not know
}

class RotationTest : public SecretsTest {
  protected:
    using Time = Secrets::Time;
    Secrets secrets = *Secrets::load_or_create(dir);
    const Time start = std::chrono::system_clock::now();
    KeyRotation rotation{secrets};

    bool tick(std::chrono::seconds after, std::vector<std::string> waits_for = {}) {
        return rotation.tick(start + after, {3600s, 7200s, std::move(waits_for)});
    }
    static std::string states(const Secrets::Keys& keys) {
        std::string text;
        for (const Secrets::Key& key : keys)
            text += fmt::format("{}{} ", key.id,
                                key.current    ? " current"
                                : key.coming() ? " coming"
                                               : " old");
        return text;
    }
    [[nodiscard]] std::string names() const { return states(secrets.name_keys()); }
    [[nodiscard]] std::string cookies() const { return states(secrets.cookie_keys()); }
};

TEST_F(RotationTest, StepByStep) {
    EXPECT_FALSE(tick(3000s));
    EXPECT_TRUE(tick(3600s));
    EXPECT_EQ(names(), "1 current 2 coming ");
    EXPECT_EQ(cookies(), "0 current 1 coming ");
    EXPECT_FALSE(tick(3601s, {"blade 2"}));
    EXPECT_TRUE(tick(3602s));
    EXPECT_EQ(names(), "1 old 2 current ");
    EXPECT_EQ(cookies(), "0 old 1 current ");
    EXPECT_FALSE(tick(3602s + KeyRotation::kCookiesOpen - 1s));
    EXPECT_TRUE(tick(3602s + KeyRotation::kCookiesOpen));
    EXPECT_EQ(names(), "1 old 2 current ");
    EXPECT_EQ(cookies(), "1 current ");
    EXPECT_TRUE(tick(7300s));  // the next one, while the one before last still opens
    EXPECT_TRUE(tick(7301s));
    EXPECT_EQ(names(), "1 old 2 old 3 current ");
    EXPECT_EQ(cookies(), "1 old 0 current ");
    EXPECT_TRUE(tick(3602s + 7200s + KeyRotation::kMargin));  // the last session of the first key is gone
    EXPECT_EQ(names(), "2 old 3 current ");
}

TEST_F(RotationTest, EveryStepOutlivesARestart) {
    for (int step = 0; step < 6; step++) {
        tick(3600s * step);
        const auto again = Secrets::load_or_create(dir);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(again->name_keys(), secrets.name_keys());
        EXPECT_EQ(again->cookie_keys(), secrets.cookie_keys());
    }
}

TEST_F(RotationTest, ARotationInTheMiddleOfAnother) {
    ASSERT_TRUE(secrets.rotate(start));
    const auto first = secrets.name_keys()[1];
    ASSERT_TRUE(secrets.rotate(start));  // as when a blade is revoked that knows the coming key
    EXPECT_EQ(names(), "1 current 3 coming ");
    EXPECT_NE(secrets.name_keys()[1].key, first.key);
    ASSERT_TRUE(secrets.promote(start, 10s, 10s));
    ASSERT_TRUE(secrets.rotate(start));
    EXPECT_EQ(names(), "1 old 3 current 4 coming ");
    EXPECT_EQ(cookies(), "1 current 0 coming ");  // one bit: two keys at a time
}

TEST_F(RotationTest, NumbersComeRoundAndNoneIsUsedTwice) {
    for (int i = 0; i < 300; i++) {
        const Time now = start + 10s * i;
        ASSERT_TRUE(secrets.rotate(now) && secrets.promote(now, 100s, 1s) && secrets.retire(now));
        std::set<uint32_t> ids;
        for (const auto& key : secrets.name_keys()) EXPECT_TRUE(ids.insert(key.id).second);
        EXPECT_LE(ids.size(), 12u);
    }
    for (int i = 0; i < 300; i++)
        if (!secrets.rotate(start) || !secrets.promote(start, 3600s, 1s)) return;
    FAIL() << "more keys than numbers";
}

TEST_F(RotationTest, WhatCannotBeWrittenHasNotHappened) {
    const auto before = names();
    fs::remove_all(dir);
    EXPECT_FALSE(tick(3600s));
    EXPECT_EQ(names(), before);
    EXPECT_FALSE(secrets.rotate(start));
    EXPECT_EQ(names(), before);
}

TEST_F(SecretsTest, TheSealKeyOfSystemd) {
    const fs::path credentials = dir / "credentials";
    fs::create_directory(credentials);
    ASSERT_TRUE(replace_file(credentials / "seal.key", std::string(SealKey::kSize, 'k'), 0400));
    ::setenv("CREDENTIALS_DIRECTORY", credentials.c_str(), 1);
    const auto first = Secrets::load_or_create(dir);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_FALSE(fs::exists(dir / "seal.key"));  // it lies nowhere else
    EXPECT_EQ(Secrets::load_or_create(dir)->name_keys(), first->name_keys());
    ::unsetenv("CREDENTIALS_DIRECTORY");
    EXPECT_THAT(error(), HasSubstr("seal.key: not there"));
}

}  // namespace
}  // namespace keyrail
