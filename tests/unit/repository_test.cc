// SPDX-License-Identifier: Apache-2.0
// Repositories behind their queue: LMDB on disk, a queue over a repository that fails when it is told to.
#include "control/repository/repository_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <atomic>
#include <fstream>
#include <map>

#include "control/repository/lmdb_repository.h"
#include "control/repository/redis_cluster.h"
#include "control/repository/redis_repository.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using keyrail::testing::TempDirectory;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr uint64_t kNow = 1'000'000, kLater = kNow + 60'000;

SessionName name_of(uint32_t number) {
    SessionName name{};
    for (size_t i = 0; i < 4; i++) name[i] = static_cast<uint8_t>(number >> 8 * i);
    return name;
}

Result<void> put(Repository& repository, uint32_t number, const std::string& sealed,
                 uint64_t expires_ms = kLater) {
    const RepositoryChange change{name_of(number), expires_ms, sealed};
    return repository.apply({&change, 1});
}

class Lmdb : public ::testing::Test {
  protected:
    std::unique_ptr<Repository> open(uint64_t size_bytes = 1 << 20) {
        auto opened = open_lmdb_repository({directory_.path() / "repository", size_bytes, boot_});
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    void boot(const std::string& id) { std::ofstream(boot_) << id; }

    TempDirectory directory_;
    fs::path boot_ = directory_.path() / "boot_id";
    void SetUp() override { boot("first boot"); }
};

TEST_F(Lmdb, IsTakenOnce) {
    const auto repository = open();
    ASSERT_TRUE(put(*repository, 1, "sealed"));
    EXPECT_THAT(*repository->take(name_of(1), kNow), Optional(std::string("sealed")));
    EXPECT_EQ(*repository->take(name_of(1), kNow), std::nullopt);
    EXPECT_EQ(*repository->take(name_of(2), kNow), std::nullopt);
}

TEST_F(Lmdb, KeepsTheLatest) {
    const auto repository = open();
    ASSERT_TRUE(put(*repository, 1, "older", kNow + 5));
    ASSERT_TRUE(put(*repository, 1, "newer"));
    ASSERT_TRUE(repository->sweep(kNow + 10));  // the older one's expiry is no more
    EXPECT_THAT(*repository->take(name_of(1), kNow + 10), Optional(std::string("newer")));
    ASSERT_TRUE(put(*repository, 2, "used up"));
    ASSERT_TRUE(put(*repository, 2, ""));
    EXPECT_EQ(*repository->take(name_of(2), kNow), std::nullopt);
}

TEST_F(Lmdb, WhatHasExpiredIsNotGivenOut) {
    const auto repository = open();
    ASSERT_TRUE(put(*repository, 1, "short"));
    EXPECT_EQ(*repository->take(name_of(1), kLater), std::nullopt);
    ASSERT_TRUE(put(*repository, 2, "short"));
    ASSERT_TRUE(repository->sweep(kLater));
    EXPECT_EQ(*repository->take(name_of(2), kNow), std::nullopt);
}

TEST_F(Lmdb, WhenItIsFullWhatExpiresFirstGoes) {
    const auto repository = open(1 << 20);
    constexpr uint32_t kMany = 4000;
    const std::string sealed(500, 's');  // 2 MB in all
    for (uint32_t i = 0; i < kMany; i++) ASSERT_TRUE(put(*repository, i, sealed, kLater + i)) << i;
    EXPECT_EQ(*repository->take(name_of(0), kNow), std::nullopt);
    EXPECT_THAT(*repository->take(name_of(kMany - 1), kNow), Optional(sealed));
}

TEST_F(Lmdb, OutlivesARestartButNotACrashOfTheMachine) {
    ASSERT_TRUE(put(*open(), 1, "closed properly"));
    boot("second boot");
    auto repository = open();
    EXPECT_THAT(*repository->take(name_of(1), kNow), Optional(std::string("closed properly")));
    ASSERT_TRUE(put(*repository, 2, "never synced"));

    // What a killed keyraild leaves behind, on a machine that goes on, and on one that went down.
    const fs::path killed = directory_.path() / "repository", copy = directory_.path() / "copy";
    fs::copy(killed, copy);
    const auto opened_again = [&] { return *open_lmdb_repository({copy, 1 << 20, boot_}); };
    auto again = opened_again();
    EXPECT_THAT(*again->take(name_of(2), kNow), Optional(std::string("never synced")));
    again.reset();
    fs::remove_all(copy);
    fs::copy(killed, copy);
    boot("third boot");
    EXPECT_EQ(*opened_again()->take(name_of(2), kNow), std::nullopt);
}

TEST_F(Lmdb, IsEmptyOnceCleared) {
    const auto repository = open();
    ASSERT_TRUE(put(*repository, 1, "sealed"));
    ASSERT_TRUE(repository->clear());
    EXPECT_EQ(*repository->take(name_of(1), kNow), std::nullopt);
    ASSERT_TRUE(put(*repository, 1, "new"));
    ASSERT_TRUE(repository->sweep(kLater));
}

TEST_F(Lmdb, RemovesThoseThatAreMeant) {
    const auto repository = open();
    for (uint32_t i = 0; i < 2500; i++) ASSERT_TRUE(put(*repository, i, i % 2 ? "odd" : "even"));
    ASSERT_TRUE(repository->remove_if([](std::string_view sealed) { return sealed == "odd"; }));
    for (uint32_t i = 0; i < 2500; i++)
        EXPECT_EQ(repository->take(name_of(i), kNow)->has_value(), i % 2 == 0) << i;
}

TEST_F(Lmdb, SaysWhatIsWrong) {
    std::ofstream(directory_.path() / "file") << "in the way";
    const auto opened = open_lmdb_repository({directory_.path() / "file", 1 << 20, boot_});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message, HasSubstr("file"));
}

TEST(RedisSlot, IsThatOfTheSpecification) {
    EXPECT_EQ(redis_slot("123456789"), 0x31C3);
    EXPECT_EQ(redis_slot(""), 0);
}

TEST(RedisRedirection, IsUnderstood) {
    const auto read = [](std::string text) {
        redisReply reply{};
        reply.type = REDIS_REPLY_ERROR;
        reply.str = text.data();
        reply.len = text.size();
        const auto there = redirection_in(reply);
        return there ? (there->ask ? "ask " : "moved ") + there->to.text() : "";
    };
    EXPECT_EQ(read("MOVED 3999 127.0.0.1:6381"), "moved 127.0.0.1:6381");
    EXPECT_EQ(read("ASK 3999 ::1:6381"), "ask [::1]:6381");
    for (const char* nonsense : {"MOVED", "MOVED 1 ", "MOVED 1 :", "MOVED 1 127.0.0.1:",
                                 "MOVED 1 127.0.0.1:99999", "MOVED 1 somewhere:1", "ERR no"})
        EXPECT_EQ(read(nonsense), "") << nonsense;
}

// --- the queue ---

/// In memory; down when it is told to be.
class FakeRepository final : public Repository {
  public:
    struct State {
        std::atomic<bool> down = false;
        std::map<SessionName, std::string> sessions;
    };
    explicit FakeRepository(std::shared_ptr<State> state) : state_(std::move(state)) {}

    Result<void> apply(std::span<const RepositoryChange> changes) override {
        if (state_->down) return fail("it is down");
        for (const auto& change : changes) {
            state_->sessions.erase(change.name);
            if (!change.sealed.empty()) state_->sessions[change.name] = change.sealed;
        }
        return {};
    }
    Result<std::optional<std::string>> take(const SessionName& name, uint64_t) override {
        if (state_->down) return fail("it is down");
        auto node = state_->sessions.extract(name);
        return node ? std::optional(node.mapped()) : std::nullopt;
    }
    Result<void> sweep(uint64_t) override {
        if (state_->down) return fail("it is down");
        return {};
    }
    Result<void> clear() override {
        return remove_if([](std::string_view) { return true; });
    }
    Result<void> remove_if(const Which& which) override {
        if (state_->down) return fail("it is down");
        std::erase_if(state_->sessions, [&](const auto& entry) { return which(entry.second); });
        return {};
    }

  private:
    std::shared_ptr<State> state_;
};

class Queue : public ::testing::Test {
  protected:
    template <typename Condition>
    [[nodiscard]] bool until(Condition condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!condition() && std::chrono::steady_clock::now() < end) {
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(5));
        }
        return condition();
    }
    std::optional<std::string> take(uint32_t number) {
        std::optional<std::optional<std::string>> answer;
        queue_->take(name_of(number), [&](std::optional<std::string> sealed) { answer = std::move(sealed); });
        EXPECT_FALSE(answer) << "answered before take() returned";
        EXPECT_TRUE(until([&] { return answer.has_value(); }));
        return answer.value_or(std::nullopt);
    }

    asio::io_context io_;
    std::shared_ptr<FakeRepository::State> state_ = std::make_shared<FakeRepository::State>();
    std::unique_ptr<RepositoryQueue> queue_ =
        std::make_unique<RepositoryQueue>(io_.get_executor(), std::make_unique<FakeRepository>(state_));
};

TEST_F(Queue, WritesAndTakesOnce) {
    queue_->change({name_of(1), kLater, "one"});
    ASSERT_TRUE(until([&] { return queue_->stats().stored == 1; }));
    EXPECT_THAT(take(1), Optional(std::string("one")));
    EXPECT_EQ(take(1), std::nullopt);
    EXPECT_EQ(queue_->stats().taken, 1U);
    EXPECT_EQ(queue_->stats().missed, 1U);
}

TEST_F(Queue, WhatWaitsIsTakenOnceToo) {
    state_->sessions[name_of(1)] = "older";
    state_->down = true;
    queue_->change({name_of(2), kLater, "another"});
    ASSERT_TRUE(until([&] { return !queue_->stats().up; }));
    queue_->change({name_of(1), kLater, "newer"});
    EXPECT_THAT(take(1), Optional(std::string("newer")));
    state_->down = false;
    ASSERT_TRUE(until([&] { return queue_->stats().up && queue_->stats().waiting == 0; }));
    EXPECT_EQ(take(1), std::nullopt) << "the older one is still there";
}

TEST_F(Queue, OneThatIsDownLosesNothingWhileThereIsRoom) {
    state_->down = true;
    for (uint32_t i = 0; i < 1000; i++) queue_->change({name_of(i), kLater, "old"});
    ASSERT_TRUE(until([&] { return !queue_->stats().up; }));
    EXPECT_EQ(queue_->stats().problem, "it is down");
    for (uint32_t i = 0; i < 1000; i++) queue_->change({name_of(i), kLater, "new"});
    EXPECT_EQ(queue_->stats().waiting, 1000U) << "a newer change takes the place of the older";
    EXPECT_EQ(take(5000), std::nullopt);
    state_->down = false;
    ASSERT_TRUE(until([&] { return queue_->stats().waiting == 0 && queue_->stats().stored == 1000; }));
    EXPECT_TRUE(queue_->stats().up);
    EXPECT_EQ(take(999), "new");
    EXPECT_EQ(queue_->stats().lost, 0U);
}

TEST_F(Queue, TellsWhenAChangeIsMade) {
    state_->down = true;
    int made = 0;
    queue_->change({name_of(1), kLater, "sealed"});
    queue_->change({name_of(1), 0, ""}, [&] { made++; });
    ASSERT_TRUE(until([&] { return !queue_->stats().up; }));
    queue_->change({name_of(1), 0, ""}, [&] { made++; });
    EXPECT_EQ(made, 0);
    state_->down = false;
    EXPECT_TRUE(until([&] { return made == 2; }));
}

/// Agents ask again and again while the repository is down.
TEST_F(Queue, WhoWaitIsBounded) {
    state_->down = true;
    std::vector<int> made;
    queue_->change({name_of(2), 0, ""}, [&] { made.push_back(-1); });
    ASSERT_TRUE(until([&] { return !queue_->stats().up; }));
    constexpr int kMany = 100, kMax = static_cast<int>(RepositoryQueue::kMaxWaitingFor);
    for (int i = 0; i < kMany; i++) queue_->change({name_of(1), 0, ""}, [&made, i] { made.push_back(i); });
    state_->down = false;
    ASSERT_TRUE(until([&] { return queue_->stats().waiting == 0 && queue_->stats().removed == 2; }));
    ASSERT_EQ(made.size(), kMax + 1U);
    EXPECT_EQ(made[0], -1);
    EXPECT_EQ(made[1], kMany - kMax) << "the oldest have asked again since";
    EXPECT_EQ(made.back(), kMany - 1);
}

TEST_F(Queue, WhatIsPurgedIsNotTaken) {
    for (const auto& [number, text] : {std::pair(1, "mine"), {2, "yours"}})
        queue_->change({name_of(static_cast<uint32_t>(number)), kLater, text});
    ASSERT_TRUE(until([&] { return queue_->stats().stored == 2; }));
    std::vector<bool> answers;
    const auto answered = [&](const Result<void>& result) { answers.push_back(result.has_value()); };
    queue_->purge([](std::string_view sealed) { return sealed == "mine"; }, answered);
    ASSERT_TRUE(until([&] { return answers.size() == 1; }));
    EXPECT_EQ(answers, std::vector{true});
    EXPECT_EQ(take(1), std::nullopt);
    EXPECT_THAT(take(2), Optional(std::string("yours")));
}

TEST_F(Queue, APurgeThatCannotBeMadeIsMadeLater) {
    queue_->change({name_of(1), kLater, "old"});
    ASSERT_TRUE(until([&] { return queue_->stats().stored == 1; }));
    state_->down = true;
    queue_->change({name_of(2), kLater, "waits"});
    std::vector<bool> answers;
    queue_->purge(nullptr, [&](const Result<void>& result) { answers.push_back(result.has_value()); });
    ASSERT_TRUE(until([&] { return answers.size() == 1; }));
    EXPECT_EQ(answers, std::vector{false});
    queue_->change({name_of(3), kLater, "new"});
    state_->down = false;
    ASSERT_TRUE(until([&] { return queue_->stats().up && queue_->stats().waiting == 0; }));
    EXPECT_EQ(take(1), std::nullopt);
    EXPECT_EQ(take(2), std::nullopt) << "what was on its way was made before, too";
    EXPECT_THAT(take(3), Optional(std::string("new")));
    EXPECT_EQ(answers.size(), 1U) << "told once";
}

TEST_F(Queue, IsBounded) {
    state_->down = true;
    for (uint32_t i = 0; i < RepositoryQueue::kMaxWaiting + 10; i++)
        queue_->change({name_of(i), kLater, "s"});
    EXPECT_GE(queue_->stats().lost, 9U);  // the first batch is on its way, perhaps
    EXPECT_LE(queue_->stats().waiting, RepositoryQueue::kMaxWaiting);
}

TEST_F(Queue, IsBoundedInBytes) {
    state_->down = true;
    const std::string large(1 << 20, 's');
    for (uint32_t i = 0; i < 70; i++) queue_->change({name_of(i), kLater, large});
    EXPECT_GE(queue_->stats().lost, 5U);
}

TEST_F(Queue, WhatWaitsIsWrittenAtTheEnd) {
    for (uint32_t i = 0; i < 1000; i++) queue_->change({name_of(i), kLater, "s"});
    queue_.reset();
    EXPECT_EQ(state_->sessions.size(), 1000U);
}

}  // namespace
}  // namespace keyrail
