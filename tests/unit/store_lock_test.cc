// SPDX-License-Identifier: Apache-2.0
// The store's lock: holders that die, are stopped, or lie. And a store whose locks a hostile process holds.
#include "control/store/store_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::name_of;
using testing::StoreMemory;
using testing::TempStore;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Shared {
    LockWord lock, stuck, ready;
};

class StoreLock : public ::testing::Test {
  protected:
    StoreLock()
        : shared(*static_cast<Shared*>(
              mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
    ~StoreLock() override {
        if (child > 0) end(SIGKILL);
        munmap(&shared, sizeof(Shared));
    }

    /// Another process that does this and says so in `ready`.
    void start(const std::function<void()>& what) {
        shared.ready.store(0);
        child = fork();
        if (child == 0) {
            what();
            _exit(0);
        }
        while (shared.ready.load() == 0) std::this_thread::yield();
    }
    void hold() {
        start([this] {
            const LockHold mine(shared.lock, shared.stuck);
            shared.ready.store(1);
            pause();
        });
    }
    void end(int signal) {
        kill(child, signal);
        waitpid(child, nullptr, 0);
        child = -1;
    }
    [[nodiscard]] LockHold::Outcome take() const { return LockHold(shared.lock, shared.stuck).outcome(); }

    Shared& shared;
    pid_t child = -1;
};

TEST_F(StoreLock, OneAtATime) {
    constexpr int kThreads = 4, kTimes = 20000;
    uint64_t count = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; i++)
        threads.emplace_back([&] {
            for (int n = 0; n < kTimes; n++) {
                const LockHold mine(shared.lock, shared.stuck);
                if (mine.outcome() == LockHold::Outcome::kHeld) count++;
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(count, uint64_t{kThreads} * kTimes);
    EXPECT_EQ(shared.lock.load(), 0U);
}

TEST_F(StoreLock, AHolderThatDies) {
    hold();
    end(SIGKILL);
    EXPECT_EQ(take(), LockHold::Outcome::kOwnerDied);
    EXPECT_EQ(take(), LockHold::Outcome::kHeld);
}

TEST_F(StoreLock, AThreadThatWaitsIsWokenWhenTheHolderDies) {
    hold();
    std::thread killer([this] { end(SIGKILL); });
    EXPECT_EQ(take(), LockHold::Outcome::kOwnerDied);
    killer.join();
}

TEST_F(StoreLock, AHolderThatIsStoppedIsWaitedForOnce) {
    hold();
    kill(child, SIGSTOP);
    const auto begin = Clock::now();
    EXPECT_EQ(take(), LockHold::Outcome::kNot);
    const auto first = Clock::now();
    EXPECT_GE(first - begin, std::chrono::microseconds(LockHold::kPatienceUs));
    for (int i = 0; i < 1000; i++) EXPECT_EQ(take(), LockHold::Outcome::kNot);
    EXPECT_LT(Clock::now() - first, milliseconds(LockHold::kPatienceUs / 1000));
    LockWord other{0};
    EXPECT_EQ(LockHold(other, shared.stuck).outcome(), LockHold::Outcome::kHeld) << "another lock is free";
    end(SIGKILL);
    EXPECT_EQ(take(), LockHold::Outcome::kOwnerDied);
    EXPECT_EQ(shared.stuck.load(), 0U);
}

TEST_F(StoreLock, OneThatGoesOnIsTrustedAgain) {
    start([this] {
        {
            const LockHold mine(shared.lock, shared.stuck);
            shared.ready.store(1);
            while (shared.ready.load() == 1) usleep(100);
        }
        shared.ready.store(3);
        pause();
    });
    EXPECT_EQ(take(), LockHold::Outcome::kNot);
    EXPECT_NE(shared.stuck.load(), 0U);
    shared.ready.store(2);
    while (shared.ready.load() != 3) std::this_thread::yield();
    EXPECT_EQ(take(), LockHold::Outcome::kHeld);
    EXPECT_EQ(shared.stuck.load(), 0U);
}

TEST_F(StoreLock, AChildHoldsWhatIsItsOwn) {
    EXPECT_EQ(take(), LockHold::Outcome::kHeld);
    start([this] {
        const LockHold mine(shared.lock, shared.stuck);
        shared.ready.store(shared.lock.load() == static_cast<uint32_t>(getpid()) ? 1 : 2);
        pause();
    });
    EXPECT_EQ(shared.ready.load(), 1U) << "it had its parent's number";
    end(SIGKILL);
    EXPECT_EQ(take(), LockHold::Outcome::kOwnerDied);
}

TEST_F(StoreLock, NonsenseInItCostsPatienceAndNoMore) {
    for (const uint32_t nonsense : {1U, 0x3fffffffU, 0xbfffffffU, 0x80000000U, 0x40000000U}) {
        shared.lock.store(nonsense);
        const auto begin = Clock::now();
        (void)take();
        EXPECT_LT(Clock::now() - begin, milliseconds(2000)) << nonsense;
    }
}

/// A process of the servers' group takes every lock, and keeps them.
TEST(StoreLocks, HeldByAHostileProcess) {
    TempStore store(4 << 20);
    SessionRecord record;
    for (uint64_t i = 0; i < 1000; i++) {
        fill(record, i * 2, 150);
        ASSERT_EQ(store->put(record), Store::Put::kStored);
    }
    const StoreMemory memory(store.path());
    memory.set_locks(1);  // init holds them: it does not end
    const auto begin = Clock::now();
    SessionRecord out;
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT_FALSE(store->resume(name_of(i * 2), TlsVersion::tls12, 5000, out));
        fill(record, 5000 + i, 150);
        EXPECT_EQ(store->put(record), Store::Put::kUnavailable);
    }
    for (Store::Cursor cursor; !cursor.done();)
        EXPECT_TRUE(store->list(cursor, Store::Which::kAll, 100).empty());
    Store::JournalCursor journal;
    std::vector<Store::Change> changes;
    store->changes(journal, changes);
    store->sweep(0);
    EXPECT_EQ(store->shards_held(), memory.geometry().shards);
    EXPECT_LT(Clock::now() - begin, milliseconds(500)) << "all of that waits once";
    memory.set_locks(0);
    EXPECT_TRUE(store->resume(name_of(2), TlsVersion::tls12, 5000, out));
}

/// Also when the lock is given back a moment later.
TEST(StoreLocks, APurgeSaysWhatItCouldNotLookAt) {
    TempStore store(4 << 20);
    SessionRecord record;
    for (uint64_t i = 0; i < 1000; i++) {
        fill(record, i, 150);
        ASSERT_EQ(store->put(record), Store::Put::kStored);
    }
    const StoreMemory memory(store.path());
    memory.lock(0).store(1);
    uint64_t left = 0;
    const auto first = store->purge([&](const SessionInfo&) {
        memory.lock(0).store(0);
        return true;
    });
    EXPECT_EQ(first.held, 1U);
    left = store->stats().sessions;
    EXPECT_EQ(first.purged, 1000 - left);
    ASSERT_GT(left, 0U);
    Store::Cursor cursor;
    const SessionName name = store->list(cursor, Store::Which::kAll, 1).at(0).name;
    memory.lock(0).store(1);
    EXPECT_EQ(store->purge(name).held, 1U);
    memory.lock(0).store(0);
    const auto one = store->purge(name);
    EXPECT_EQ(one.purged, 1U);
    EXPECT_EQ(one.held, 0U);
    EXPECT_EQ(store->purge(name).purged, 0U);
    const auto rest = store->purge([](const SessionInfo&) { return true; });
    EXPECT_EQ(rest.held, 0U);
    EXPECT_EQ(rest.purged, left - 1);
}

TEST(StoreLocks, AStoreWithHeldLocksMakesRoomForANewOne) {
    TempStore store(4 << 20);
    SessionRecord record, out;
    for (uint64_t i = 0; i < 1000; i++) {
        fill(record, i * 2, 150);
        ASSERT_EQ(store->put(record), Store::Put::kStored);
    }
    auto server = Store::open(store.path());
    const StoreMemory memory(store.path());
    memory.lock(0).store(1);
    const uint32_t held = store->shards_held();
    EXPECT_EQ(held, 1U);
    ASSERT_TRUE(store->renew(store.path(), ""));
    EXPECT_EQ(store->replaced()->shards_held, 1U);
    EXPECT_EQ(store->shards_held(), 0U);
    const uint64_t carried = store->replaced()->carried;
    EXPECT_GT(carried, 850U);
    EXPECT_LT(carried, 1000U);
    memory.lock(0).store(0);  // it goes on: what it has is no use to anybody
    ASSERT_TRUE(server->retired());
    uint64_t here = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT_FALSE(server->resume(name_of(i * 2), TlsVersion::tls12, 5000, out));
        here += store->contains(name_of(i * 2)) ? 1 : 0;
    }
    EXPECT_EQ(here, carried);
    EXPECT_FALSE(Store::create(store.path(), 4 << 20, "", nullptr)) << "still one agent only";
}

}  // namespace
}  // namespace keyrail
