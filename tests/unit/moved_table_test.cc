// SPDX-License-Identifier: Apache-2.0
// The moved table: what is found, when it is full, and that a reader never sees half an entry.
#include "dataplane/tables/moved_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace keyrail {
namespace {

constexpr uint32_t kNow = 1000, kLater = 2000;

/// Session names are encrypted: any bits, and different ones.
SessionName name(uint64_t n) {
    SessionName made;
    for (size_t at = 0; at < made.size(); at += sizeof n) {
        n = (n + 1) * 0x9e3779b97f4a7c15;
        n ^= n >> 31;
        std::memcpy(&made[at], &n, sizeof n);
    }
    return made;
}
BladeId blade(uint64_t n) { return BladeId(static_cast<uint16_t>(1 + n % BladeId::kMax)); }

std::unique_ptr<MovedTable> table_for(uint32_t capacity) {
    return std::move(MovedTable::create(capacity).value());
}

TEST(MovedTable, FindsWhatWasSetUntilItExpires) {
    const auto table = table_for(16);
    EXPECT_EQ(table->find(name(1), kNow), std::nullopt);
    EXPECT_TRUE(table->set(name(1), 3, kLater, kNow));
    EXPECT_EQ(table->find(name(1), kNow), 3);
    EXPECT_EQ(table->find(name(2), kNow), std::nullopt);
    EXPECT_TRUE(table->set(name(1), 4, kLater, kNow)) << "it moved once more";
    EXPECT_EQ(table->find(name(1), kNow), 4);
    EXPECT_EQ(table->size(), 1u);
    EXPECT_EQ(table->find(name(1), kLater), std::nullopt) << "not past its expiry";
    table->erase(name(1));
    table->erase(name(1));
    EXPECT_EQ(table->find(name(1), kNow), std::nullopt);
    EXPECT_EQ(table->size(), 0u);
}

/// To the last one, which no bucket may refuse: whatever finds its two full has others make room.
TEST(MovedTable, HoldsAsManyAsItWasMadeFor) {
    for (const uint32_t capacity : {1u, 3u, 64u, 1000u, 65'536u}) {
        const auto table = table_for(capacity);
        for (uint32_t n = 0; n < capacity; n++) ASSERT_TRUE(table->set(name(n), blade(n), kLater, kNow)) << n;
        EXPECT_EQ(table->size(), capacity);
        for (uint32_t n = 0; n < capacity; n++)
            ASSERT_EQ(table->find(name(n), kNow), blade(n)) << n << " of " << capacity;
        EXPECT_FALSE(table->set(name(capacity), 1, kLater, kNow)) << "full";
        EXPECT_TRUE(table->set(name(0), 5, kLater, kNow)) << "what is there can still be changed";
        EXPECT_TRUE(table->set(name(capacity), 1, 2 * kLater, kLater)) << "what has expired makes room";
        EXPECT_EQ(table->size(), 1u);
        table->clear();
        EXPECT_EQ(table->size(), 0u);
        EXPECT_EQ(table->find(name(capacity), kNow), std::nullopt);
    }
}

TEST(MovedTable, SweepsWhatHasExpired) {
    const auto table = table_for(100'000);
    for (uint32_t n = 0; n < 1000; n++) table->set(name(n), 3, n % 2 == 0 ? kNow : kLater, 1);
    for (int i = 0; i < 100; i++) table->sweep(kNow);
    EXPECT_EQ(table->size(), 500u);
    for (uint32_t n = 0; n < 1000; n++) EXPECT_EQ(table->find(name(n), 1).has_value(), n % 2 == 1);
}

TEST(MovedTable, ABurstIsLookedForAtOnce) {
    const auto table = table_for(1000);
    std::vector<SessionName> names;
    for (uint32_t n = 0; n < 64; n++) names.push_back(name(n));
    for (uint32_t n = 0; n < 64; n += 3) table->set(names[n], blade(n), kLater, kNow);
    std::vector<const SessionName*> wanted;
    for (const SessionName& one : names) wanted.push_back(&one);
    std::vector<BladeId> holders(64, BladeId(uint16_t{9}));
    table->find(wanted, kNow, holders);
    for (uint32_t n = 0; n < 64; n++) EXPECT_EQ(holders[n], n % 3 == 0 ? blade(n) : BladeId{}) << n;
}

struct Memory {
    std::vector<MovedTable::Bucket> buckets = std::vector<MovedTable::Bucket>(MovedTable::buckets_for(1000));
};

/// The next process's.
TEST(MovedTable, GoesOnWithWhatIsInItsMemory) {
    Memory memory;
    {
        MovedTable table(memory.buckets, 1000);
        for (uint32_t n = 0; n < 1000; n++) ASSERT_TRUE(table.set(name(n), blade(n), kLater, kNow));
    }
    MovedTable table(memory.buckets, 1000);
    EXPECT_EQ(table.size(), 1000u);
    for (uint32_t n = 0; n < 1000; n++) ASSERT_EQ(table.find(name(n), kNow), blade(n));
    for (uint32_t n = 0; n < 1000; n++) table.erase(name(n));
    EXPECT_EQ(table.size(), 0u);
}

/// Memory of any contents: no holder that is no blade, nothing twice, and the table works.
TEST(MovedTable, MemoryOfAnyContentsIsWipedWhereItMakesNoSense) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 50; round++) {
        Memory memory;
        {
            MovedTable table(memory.buckets, 1000);
            for (uint32_t n = 0; n < 800; n++) table.set(name(n), blade(n), kLater, kNow);
        }
        auto* words = reinterpret_cast<uint64_t*>(memory.buckets.data());
        const size_t count = memory.buckets.size() * 8;
        for (int i = 0; i < 500; i++) {
            const uint64_t word = random() % 2 == 0 ? random() : words[random() % count];
            words[random() % count] = word;
        }
        MovedTable table(memory.buckets, 1000);
        EXPECT_LE(table.size(), 1000u);
        for (uint32_t n = 0; n < 800; n++) {
            const auto holder = table.find(name(n), kNow);
            EXPECT_TRUE(!holder || *holder <= BladeId::kMax);
            table.erase(name(n));
            EXPECT_EQ(table.find(name(n), kNow), std::nullopt) << "once only";
        }
        for (uint32_t n = 2000; table.size() < 1000; n++) ASSERT_TRUE(table.set(name(n), 1, kLater, kNow));
    }
}

/// Entries come, go, change and make room for each other; readers see one of their values, and those that
/// stay are always there.
TEST(MovedTable, ReadersSeeWholeEntriesWhileTheyChange) {
    constexpr uint32_t kStaying = 300, kOthers = 400;
    const auto table = table_for(1024);
    for (uint32_t n = 0; n < kStaying; n++) table->set(name(n), blade(n), kLater, kNow);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0}, looked{0};
    std::thread reader([&] {
        while (!stop) {
            for (uint32_t n = 0; n < kStaying; n++) wrong += table->find(name(n), kNow) != blade(n) ? 1 : 0;
            for (uint32_t n = kStaying; n < kStaying + kOthers; n++) {
                const auto holder = table->find(name(n), kNow);
                wrong += holder && *holder != blade(n) && *holder != blade(n + 1) ? 1 : 0;
            }
            looked++;
        }
    });
    std::mt19937_64 random(7);
    for (uint32_t i = 0; i < 200'000 || looked < 20; i++) {
        const auto n = static_cast<uint32_t>(kStaying + random() % kOthers);
        random() % 3 == 0 ? table->erase(name(n))
                          : void(table->set(name(n), blade(n + random() % 2), kLater, kNow));
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace keyrail
