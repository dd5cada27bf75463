// SPDX-License-Identifier: Apache-2.0
// Every member of a pool gets its pool key, nobody else does. Members here only pretend to wrap.
#include "control/repository/pool_key_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>

#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using ::testing::ElementsAre;
using testing::TempDirectory;

constexpr uint64_t kStart = 1'000'000'000'000, kHour = 3'600'000;

class Keeper : public ::testing::Test {
  protected:
    void connect(BladeId blade, const std::string& key = "key") {
        const std::string id = key + std::to_string(blade);
        members_[blade] = {"certificate of " + id, id};
    }
    /// Looks, and lets those who are asked answer, until nobody is asked any more.
    size_t settle(bool answers = true) {
        size_t asked = 0;
        for (std::optional<std::pair<BladeId, chassis::WrapPoolKey>> question; asked < 100; asked++) {
            question.reset();
            keeper_.poll(services_, members_, now_, [&](BladeId blade, chassis::Envelope message) {
                question = {blade, message.wrap_pool_key()};
            });
            if (!question) break;
            if (answers) {
                EXPECT_TRUE(keeper_.add(question->first, answer(question->second), now_));
            } else {
                now_ += PoolKeyKeeper::kPatienceMs;
                silent_.push_back(question->first);
                if (silent_.size() == 4) break;
            }
        }
        return asked;
    }
    static chassis::PoolKeys answer(const chassis::WrapPoolKey& question) {
        chassis::PoolKeys keys;
        for (const std::string& certificate : question.certificates()) {
            chassis::PoolKey& key = *keys.add_keys();
            key.set_service(question.service());
            key.set_generation(question.generation());
            key.set_recipient(certificate.substr(std::string("certificate of ").size()));
            key.set_wrapped("wrapped for " + key.recipient());
        }
        return keys;
    }
    std::vector<uint32_t> generations(const std::string& recipient, const std::string& service = "web") {
        std::vector<uint32_t> found;
        const chassis::PoolKeys mine = keeper_.keys_of(recipient);
        for (const auto& key : mine.keys())
            if (key.service() == service) found.push_back(key.generation());
        return found;
    }

    TempDirectory directory_;
    PoolKeyKeeper keeper_{directory_.path() / "pool_keys"};
    std::vector<SealedService> services_{{"web", 2 * kHour, {1, 2, 3}}};
    PoolKeyKeeper::Members members_;
    uint64_t now_ = kStart;
    std::vector<BladeId> silent_;
};

TEST_F(Keeper, OneMemberMakesTheKeyForAll) {
    EXPECT_EQ(settle(), 0U) << "nobody is there";
    connect(1), connect(2), connect(4);
    EXPECT_EQ(settle(), 1U);
    EXPECT_THAT(generations("key1"), ElementsAre(1));
    EXPECT_THAT(generations("key2"), ElementsAre(1));
    EXPECT_THAT(generations("key4"), ElementsAre()) << "does not serve it";
    EXPECT_EQ(settle(), 0U);
}

TEST_F(Keeper, WhoComesLaterGetsItFromAMember) {
    connect(1);
    settle();
    connect(2), connect(3);
    EXPECT_EQ(settle(), 1U);
    EXPECT_THAT(generations("key3"), ElementsAre(1));
    connect(3, "renewed");  // a new certificate with a new key
    EXPECT_EQ(settle(), 1U);
    EXPECT_THAT(generations("renewed3"), ElementsAre(1));
}

TEST_F(Keeper, AsksSomebodyElseWhenOneIsSilent) {
    connect(1), connect(2);
    settle(false);
    EXPECT_EQ(silent_, (std::vector<BladeId>{1, 2, 1, 2}));
}

TEST_F(Keeper, TakesOnlyWhatItAskedFor) {
    connect(1), connect(2);
    settle();
    chassis::WrapPoolKey unasked;
    unasked.set_service("web");
    unasked.set_generation(9);
    unasked.add_certificates("certificate of key1");
    EXPECT_FALSE(keeper_.add(1, answer(unasked), now_));
    EXPECT_THAT(generations("key1"), ElementsAre(1));
}

/// Else a blade could keep the others from ever having a key.
TEST_F(Keeper, WhoIsNotAskedDoesNotSpoilAnothersAnswer) {
    connect(1), connect(2);
    std::optional<std::pair<BladeId, chassis::WrapPoolKey>> question;
    keeper_.poll(services_, members_, now_, [&](BladeId blade, const chassis::Envelope& message) {
        question = {blade, message.wrap_pool_key()};
    });
    ASSERT_TRUE(question);
    const auto other = BladeId::or_none(3u - question->first);
    EXPECT_FALSE(keeper_.add(other, answer(question->second), now_));
    EXPECT_TRUE(keeper_.add(question->first, answer(question->second), now_));
}

TEST_F(Keeper, RotatesAndKeepsTheOldKeyAsLongAsSessionsLive) {
    connect(1);
    settle();
    now_ += PoolKeyKeeper::kLifetimeMs;
    settle();
    EXPECT_THAT(generations("key1"), ElementsAre(1, 2));
    now_ += 2 * kHour;
    settle();
    EXPECT_THAT(generations("key1"), ElementsAre(1, 2));
    now_ += 1;
    settle();
    EXPECT_THAT(generations("key1"), ElementsAre(2));
}

TEST_F(Keeper, WhoIsRevokedNeverSeesTheNextKey) {
    connect(1), connect(2);
    settle();
    members_.erase(2);
    keeper_.revoke("key2");
    PoolKeyKeeper restarted(directory_.path() / "pool_keys");  // before it came to a new key
    ASSERT_TRUE(restarted.load());
    bool asked = false;
    restarted.poll(services_, members_, now_, [&](uint16_t, const chassis::Envelope& message) {
        asked = message.wrap_pool_key().make() && message.wrap_pool_key().certificates_size() == 1;
    });
    EXPECT_TRUE(asked);
    settle();
    EXPECT_THAT(generations("key1"), ElementsAre(1, 2));
    EXPECT_THAT(generations("key2"), ElementsAre());
}

TEST_F(Keeper, KeysOutliveARestart) {
    connect(1);
    settle();
    PoolKeyKeeper restarted(directory_.path() / "pool_keys");
    ASSERT_TRUE(restarted.load());
    EXPECT_EQ(restarted.keys_of("key1").keys_size(), 1);
    std::ofstream(directory_.path() / "pool_keys") << "damaged";
    PoolKeyKeeper damaged(directory_.path() / "pool_keys");
    EXPECT_FALSE(damaged.load());
}

}  // namespace
}  // namespace keyrail
