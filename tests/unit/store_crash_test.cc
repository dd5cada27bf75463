// SPDX-License-Identifier: Apache-2.0
// The store among processes: exactly one taker, and processes killed in the middle of everything.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <random>
#include <string_view>

#include "control/store/store_shard.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::name_of;
using testing::TempStore;
using testing::whole;

constexpr int kDamaged = 42;

/// Uses the store as fast as it can until it is killed; leaves with kDamaged when a record is not whole.
[[noreturn]] void worker(Store& store, uint64_t seed) {
    std::mt19937_64 random(seed);
    SessionRecord record;
    for (;;) {
        const uint64_t number = random() % 3000;
        switch (random() % 5) {
            case 0:
            case 1:
                fill(record, number, static_cast<uint16_t>(1 + random() % (random() % 8 ? 300 : 8192)));
                store.put(record);
                continue;
            case 2:
                if (store.take(name_of(number), record) && !whole(record)) _exit(kDamaged);
                continue;
            case 3:
                if (store.resume(name_of(number), number % 2 ? TlsVersion::tls13 : TlsVersion::tls12, 5000,
                                 record) &&
                    !whole(record))
                    _exit(kDamaged);
                continue;
            default:
                store.erase(name_of(number));
        }
    }
}

/// Lists, counters and records agree, and every record is whole.
void check(Store& store) {
    uint64_t sessions = 0, chunks = 0;
    Store::Cursor cursor;
    SessionRecord record;
    while (!cursor.done()) {
        for (const auto& info : store.list(cursor, Store::Which::kAll, 1000)) {
            ASSERT_TRUE(store.copy(info.name, record)) << "listed, but cannot be found";
            ASSERT_TRUE(whole(record));
            sessions++;
            chunks += chunks_for(record.der_size);
        }
    }
    const StoreStats stats = store.stats();
    ASSERT_EQ(stats.sessions, sessions);
    ASSERT_EQ(stats.bytes, chunks * layout::kChunkSize) << "chunks were lost or counted twice";
}

/// When it returns, the child is at work: who was killed before has hit nobody.
pid_t start(Store& store, uint64_t seed) {
    static auto* const begun = new (mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<int>;
    *begun = 0;
    const pid_t child = fork();
    if (child == 0) {
        *begun = 1;
        worker(store, seed);
    }
    while (*begun == 0 && waitpid(child, nullptr, WNOHANG) == 0) sched_yield();
    return child;
}

void stop(pid_t child, int* status) {
    kill(child, SIGKILL);
    waitpid(child, status, 0);
}

TEST(StoreCrash, KilledInTheMiddleThousandsOfTimes) {
    TempStore store(1 << 20);
    std::mt19937_64 random(11);
    const char* const depth = std::getenv("KR_EXPLORE");  // quick: under sanitizers a fork takes 50 ms
    const int kills = depth != nullptr && std::string_view(depth) == "quick" ? 1000 : 4000;
    const int most = 5 * kills;
    constexpr uint64_t kHitALockHolder = 20;
    const auto enough = [&] { return store->stats().rebuilt > kHitALockHolder; };
    pid_t other =
        start(*store, 1);  // works on beside those that are killed, and is itself replaced now and then
    for (int i = 0; i < kills || (i < most && !enough()); i++) {
        const pid_t child = start(*store, random());
        const timespec pause{0, static_cast<long>(100000 + random() % 700000)};
        nanosleep(&pause, nullptr);
        int status = 0;
        stop(child, &status);
        ASSERT_TRUE(WIFSIGNALED(status)) << "a worker found a damaged record";
        if (i % 200 != 199) continue;
        stop(other, &status);
        ASSERT_TRUE(WIFSIGNALED(status));
        check(*store);
        if (HasFatalFailure()) return;
        other = start(*store, random());
    }
    int status = 0;
    stop(other, &status);
    check(*store);
    EXPECT_TRUE(enough()) << "hardly any kill hit a lock holder: the test proves nothing";
    RecordProperty("rebuilt", static_cast<int>(store->stats().rebuilt));
}

TEST(StoreCrash, OfManyTakersOneGetsIt) {
    TempStore store(8 << 20);
    constexpr uint64_t kRecords = 5000;
    constexpr int kTakers = 4;
    for (uint64_t i = 0; i < kRecords; i++) {
        SessionRecord record;
        fill(record, i, 200);
        ASSERT_EQ(store->put(record), Store::Put::kStored);
    }
    ASSERT_EQ(store->stats().sessions, kRecords) << "one had to make room: the test needs a larger store";
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    for (int taker = 0; taker < kTakers; taker++) {
        if (fork() != 0) continue;
        uint64_t taken = 0;
        SessionRecord out;
        for (uint64_t i = 0; i < kRecords; i++) {
            if (store->take(name_of(i), out) && whole(out)) taken++;
        }
        _exit(write(pipes[1], &taken, sizeof taken) == sizeof taken ? 0 : 1);
    }
    uint64_t sum = 0;
    for (int taker = 0; taker < kTakers; taker++) {
        uint64_t taken = 0;
        ASSERT_EQ(read(pipes[0], &taken, sizeof taken), static_cast<ssize_t>(sizeof taken));
        sum += taken;
    }
    for (int taker = 0; taker < kTakers; taker++) wait(nullptr);
    close(pipes[0]);
    close(pipes[1]);
    EXPECT_EQ(sum, kRecords);
    EXPECT_EQ(store->stats().sessions, 0U);
}

}  // namespace
}  // namespace keyrail
