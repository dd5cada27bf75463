// SPDX-License-Identifier: Apache-2.0
// What the repository and keyraild are told of sessions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>

#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <set>

#include "chassis.pb.h"
#include "control/agent/assignment.h"
#include "control/agent/backoff.h"
#include "control/agent/checkpointer.h"
#include "control/agent/config.h"
#include "control/agent/kernel_checks.h"
#include "control/agent/load.h"
#include "control/agent/records.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

class OneKey : public SealingKeys {
  public:
    [[nodiscard]] Current current(const std::string&) const override { return {1, &key_}; }
    [[nodiscard]] const SealingKey* find(const std::string&, uint32_t) const override { return &key_; }

  private:
    SealingKey key_{PoolKeyBytes()};
};

class CheckpointerTest : public ::testing::Test {
  protected:
    CheckpointerTest() {
        served.add("www", 443);
        testing::fill(record, 1, 100);
        record.single_use = true;
        record.port = 443;
        record.service = ServiceId::of("www");
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3'600'000;
    }
    chassis::Checkpoint tell(std::chrono::milliseconds later = Checkpointer::kMayComeBack) {
        chassis::Checkpoint told;
        checkpointer.poll(now);
        number = 0;
        (void)checkpointer.next(told, number, now + later);
        return told;
    }

    testing::TempStore store{1 << 20};
    ServedServices served;
    const std::set<std::string> sealed{"www"};
    OneKey keys;
    Fences fences;
    Checkpointer checkpointer{*store, served, sealed, keys, fences, 7, 100};
    const Checkpointer::Time now{std::chrono::hours(1)};
    SessionRecord record;
    uint64_t number = 0;
};

TEST_F(CheckpointerTest, WhatIsSealedCannotPassForSomethingElse) {
    (void)store->put(record);
    const auto told = tell();
    ASSERT_EQ(told.sessions_size(), 1);
    const chassis::SessionState& state = told.sessions(0);
    EXPECT_TRUE(state.single_use());
    EXPECT_EQ(state.blade(), 7U);
    EXPECT_EQ(state.epoch(), 100U);
    SessionRecord opened;
    EXPECT_TRUE(checkpointer.open(state, wall_clock_ms(), opened));
    const auto opens_with = [&](const std::function<void(chassis::SessionState&)>& change) {
        chassis::SessionState changed = state;
        change(changed);
        SessionRecord out;
        return checkpointer.open(changed, wall_clock_ms(), out).has_value();
    };
    EXPECT_FALSE(opens_with([](auto& changed) { changed.set_single_use(false); }));
    EXPECT_FALSE(opens_with([](auto& changed) { changed.set_blade(8); }));
    EXPECT_FALSE(opens_with([](auto& changed) { changed.set_epoch(101); }));
    EXPECT_FALSE(opens_with([](auto& changed) { changed.set_uses(0xFFFF); }));
    EXPECT_FALSE(opens_with([](auto& changed) { changed.set_name(std::string(32, 'n')); }));
}

/// OpenSSL did not like the session that it was given: it is put back.
TEST_F(CheckpointerTest, AHandshakeThatComesToNothingEndsNothing) {
    (void)store->put(record);
    (void)tell();
    SessionRecord used;
    ASSERT_TRUE(store->resume(record.name, record.tls_version, wall_clock_ms(), used));
    EXPECT_EQ(tell(std::chrono::milliseconds(10)).sessions_size(), 0) << "it may come back";
    (void)store->put(used);
    const auto told = tell();
    ASSERT_EQ(told.sessions_size(), 1);
    EXPECT_FALSE(told.sessions(0).gone());
    EXPECT_EQ(number, 0U);
}

/// It was in a handshake when all was purged.
TEST_F(CheckpointerTest, WhatIsPutBackAfterAPurgeIsDestroyed) {
    (void)store->put(record);
    (void)tell();
    SessionRecord used;
    ASSERT_TRUE(store->resume(record.name, record.tls_version, wall_clock_ms(), used));
    fences.add(Purged{}, 9, now, wall_clock_ms());
    (void)store->put(used);
    (void)tell();
    EXPECT_FALSE(store->contains(record.name));
    record.name = testing::name_of(2);
    record.created_ms = wall_clock_ms() + 5;
    (void)store->put(record);
    (void)tell();
    EXPECT_TRUE(store->contains(record.name)) << "made after it";
}

/// When it was made, another blade says; that an order from after the purge brought it, its receipt says.
TEST_F(CheckpointerTest, WhatAnOrderBroughtAfterAPurgeStays) {
    fences.add(Purged{}, 9, now, record.created_ms + 1000);
    const auto stays = [&](uint8_t order, Checkpointer::Time later) {
        record.receipt = {};
        record.receipt[7] = order;
        record.receipt[15] = 1;
        (void)store->put(record);
        checkpointer.poll(later);
        return store->contains(record.name);
    };
    EXPECT_FALSE(stays(8, now));
    EXPECT_TRUE(stays(10, now));
    EXPECT_FALSE(stays(8, now + Fences::kFor));
    EXPECT_TRUE(stays(8, now + Fences::kFor + std::chrono::seconds(1))) << "no handshake takes so long";
    EXPECT_FALSE(fences.any(now + Fences::kFor + std::chrono::seconds(1)));
}

TEST_F(CheckpointerTest, AnEndIsToldWithItsReceiptUntilItIsAcknowledged) {
    record.receipt.fill('r');
    (void)store->put(record);
    (void)tell();
    store->erase(record.name);
    const auto told = tell();
    ASSERT_EQ(told.sessions_size(), 1);
    EXPECT_TRUE(told.sessions(0).gone());
    EXPECT_EQ(told.sessions(0).receipt(), std::string(16, 'r'));
    const uint64_t first = number;
    EXPECT_NE(first, 0U);
    EXPECT_EQ(tell().sessions_size(), 0);
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::USED_UP);
    checkpointer.start_over();
    EXPECT_EQ(tell().sessions_size(), 1) << "the connection broke";
    EXPECT_NE(number, first);
    checkpointer.acknowledged(number);
    checkpointer.start_over();
    EXPECT_EQ(tell().sessions_size(), 0);
}

TEST_F(CheckpointerTest, KnowsWhatItCanKnow) {
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::NOT_USED);
    checkpointer.left(record);
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::UNKNOWN) << "another blade has it";
    checkpointer.came(record.name);
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::NOT_USED);
    const uint64_t before = checkpointer.fate(record.name, now).epoch;
    (void)store->put(record);
    (void)tell();
    for (int i = 0; i < 50'000; i++) (void)store->put(record);  // the journal forgets
    EXPECT_GT(checkpointer.fate(testing::name_of(99), now).epoch, before);
}

/// A process that holds the lock of a shard: that the session cannot be looked at does not mean that it is
/// away.
TEST_F(CheckpointerTest, WhatCannotBeLookedAtIsNotKnown) {
    (void)store->put(record);
    (void)tell();
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::UNKNOWN) << "it is here";
    testing::StoreMemory memory(store.path());
    memory.set_locks(1);  // init holds them all, for ever
    EXPECT_FALSE(store->contains(record.name));
    EXPECT_EQ(store->is_here(record.name), std::nullopt);
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::UNKNOWN);
    memory.set_locks(0);
    SessionRecord taken;
    ASSERT_TRUE(store->take(record.name, taken));
    EXPECT_EQ(checkpointer.fate(record.name, now).fate, chassis::NOT_USED);
}

}  // namespace
}  // namespace keyrail
