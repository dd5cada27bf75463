// SPDX-License-Identifier: Apache-2.0
// The session store within one process: what goes in comes out, once; bounds; eviction; damage.
#include "control/store/store.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <initializer_list>
#include <random>
#include <set>
#include <string_view>
#include <thread>

#include "control/store/store_shard.h"
#include "tests/support/put_session.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::name_of;
using testing::put;
using testing::StoreMemory;
using testing::TempStore;
using testing::whole;

TEST(Store, EverySizeComesBackWhole) {
    TempStore store;
    for (const uint16_t size :
         std::initializer_list<uint16_t>{1, 126, 172, 207, 208, 209, 576, 577, 795, 1005, 4096, 8191, 8192}) {
        put(*store, size, size);
        SessionRecord out;
        ASSERT_TRUE(store->copy(name_of(size), out)) << size;
        EXPECT_EQ(out.der_size, size);
        EXPECT_TRUE(whole(out)) << size;
    }
    EXPECT_EQ(store->stats().sessions, 13U);
}

TEST(Store, TypicalSessionCostsOneChunk) {
    TempStore store;
    put(*store, 1, 172);
    EXPECT_EQ(store->stats().bytes, layout::kChunkSize);
}

TEST(Store, RefusesWhatIsOutOfBounds) {
    TempStore store;
    SessionRecord record;
    fill(record, 1, 100);
    record.der_size = 0;
    EXPECT_EQ(store->put(record), Store::Put::kRefused);
    record.der_size = kMaxSessionDer + 1;
    EXPECT_EQ(store->put(record), Store::Put::kRefused);
    EXPECT_EQ(store->stats().sessions, 0U);
}

TEST(Store, TakeRemovesCopyDoesNot) {
    TempStore store;
    put(*store, 5, 150);
    SessionRecord out;
    EXPECT_TRUE(store->copy(name_of(5), out));
    EXPECT_TRUE(store->copy(name_of(5), out));
    EXPECT_TRUE(store->take(name_of(5), out));
    EXPECT_TRUE(whole(out));
    EXPECT_FALSE(store->take(name_of(5), out));
    EXPECT_FALSE(store->contains(name_of(5)));
    EXPECT_EQ(store->stats().bytes, 0U);
}

TEST(Store, SameNameReplaces) {
    TempStore store;
    put(*store, 5, 150);
    put(*store, 5, 2000);
    SessionRecord out;
    ASSERT_TRUE(store->copy(name_of(5), out));
    EXPECT_EQ(out.der_size, 2000);
    EXPECT_EQ(store->stats().sessions, 1U);
}

TEST(Store, ResumeTakesSingleUseAndCopiesReusable) {
    TempStore store;
    put(*store, 1, 150);  // odd: TLS 1.3, single use
    put(*store, 2, 150);  // even: TLS 1.2, reusable
    SessionRecord out;
    EXPECT_FALSE(store->resume(name_of(1), {TlsVersion::tls13, {1}, {2}}, 5000, out))
        << "another site must leave it";
    EXPECT_FALSE(store->resume(name_of(1), TlsVersion::tls12, 5000, out))
        << "another TLS version must leave it";
    EXPECT_TRUE(store->resume(name_of(1), TlsVersion::tls13, 5000, out));
    EXPECT_FALSE(store->resume(name_of(1), TlsVersion::tls13, 5000, out));
    EXPECT_TRUE(store->resume(name_of(2), TlsVersion::tls12, 5000, out));
    EXPECT_TRUE(store->resume(name_of(2), TlsVersion::tls12, 5000, out));
    EXPECT_EQ(store->stats().hits, 3U);
    EXPECT_EQ(store->stats().misses, 3U);
}

/// A server has it in a handshake when all is purged; neither it nor what comes out of it is stored again.
TEST(Store, APurgeReachesWhatIsTakenOut) {
    TempStore store(1 << 20);
    SessionRecord record, taken;
    fill(record, 1, 150);
    record.single_use = true;
    ASSERT_EQ(store->put(record), Store::Put::kStored);
    const uint32_t since = store->purges();
    ASSERT_TRUE(store->resume(record.name, record.tls_version, 5000, taken));
    EXPECT_EQ(store->put(taken, since), Store::Put::kStored) << "nothing was purged";
    ASSERT_TRUE(store->resume(record.name, record.tls_version, 5000, taken));
    EXPECT_EQ(store->purge([](const SessionInfo&) { return true; }).purged, 0U);
    EXPECT_EQ(store->put(taken, since), Store::Put::kPurged);
    EXPECT_FALSE(store->contains(record.name));
    EXPECT_EQ(store->put(taken, store->purges()), Store::Put::kStored);
    EXPECT_EQ(store->put(taken), Store::Put::kStored) << "from a full handshake";
    EXPECT_EQ(store->purge(record.name).purged, 1U);
    EXPECT_NE(store->purges(), since + 1);
    ASSERT_TRUE(store->renew(store.path(), ""));
    EXPECT_EQ(store->purges(), since + 2) << "a store's successor knows of its purges";
    EXPECT_EQ(store->put(taken, since), Store::Put::kPurged);
}

TEST(Store, ExpiredIsDestroyed) {
    TempStore store;
    SessionRecord record;
    fill(record, 2, 150);
    record.expires_ms = 9000;
    ASSERT_EQ(store->put(record), Store::Put::kStored);
    SessionRecord out;
    EXPECT_TRUE(store->resume(name_of(2), TlsVersion::tls12, 8999, out));
    EXPECT_FALSE(store->resume(name_of(2), TlsVersion::tls12, 9000, out));
    EXPECT_FALSE(store->contains(name_of(2)));
    ASSERT_EQ(store->put(record), Store::Put::kStored);
    for (uint32_t i = 0; i < 64; i++) store->sweep(9001);
    EXPECT_FALSE(store->contains(name_of(2)));
    EXPECT_EQ(store->stats().expired, 2U);
}

TEST(Store, OldestGoesFirstWhenFull) {
    TempStore store(1 << 20);
    const uint64_t capacity = store->stats().capacity_bytes / layout::kChunkSize;
    for (uint64_t i = 0; i < 4 * capacity; i++) put(*store, i, 150);
    const StoreStats stats = store->stats();
    EXPECT_LE(stats.bytes, stats.capacity_bytes);
    EXPECT_GT(stats.sessions, capacity * 9 / 10);
    EXPECT_EQ(stats.evicted, 4 * capacity - stats.sessions);
    EXPECT_TRUE(store->contains(name_of(4 * capacity - 1)));
    EXPECT_FALSE(store->contains(name_of(0)));
    // Within one shard the order is exact: nothing that is older than a survivor's elder survives.
    uint64_t survivors_among_newest_half = 0;
    for (uint64_t i = 4 * capacity - capacity / 2; i < 4 * capacity; i++)
        survivors_among_newest_half += store->contains(name_of(i));
    EXPECT_EQ(survivors_among_newest_half, capacity / 2);
}

TEST(Store, LargeRecordsEvictManySmallOnes) {
    TempStore store(1 << 20);
    for (uint64_t i = 0; i < 10000; i++) put(*store, i, 150);
    for (uint64_t i = 20000; i < 20200; i++) put(*store, i, 8192);
    SessionRecord out;
    ASSERT_TRUE(store->copy(name_of(20199), out));
    EXPECT_TRUE(whole(out));
    EXPECT_LE(store->stats().bytes, store->stats().capacity_bytes);
}

TEST(Store, ListsEverySessionOnce) {
    TempStore store;
    for (uint64_t i = 0; i < 3000; i++) {
        SessionRecord record;
        fill(record, i, static_cast<uint16_t>(1 + i % 900));
        record.moved_in = i % 3 == 0;
        ASSERT_EQ(store->put(record), Store::Put::kStored);
    }
    for (const auto& [which, expected] :
         {std::pair(Store::Which::kAll, 3000U), {Store::Which::kMovedIn, 1000U}}) {
        std::set<SessionName> seen;
        Store::Cursor cursor;
        while (!cursor.done()) {
            for (const auto& info : store->list(cursor, which, 100))
                EXPECT_TRUE(seen.insert(info.name).second);
        }
        EXPECT_EQ(seen.size(), expected);
    }
}

TEST(Store, SurvivesItsAgent) {
    TempStore store;
    put(*store, 9, 700);
    StoreControl control;
    control.blade_id = 3;
    store->set_control(control);
    const StoreToken token = store->token();
    store.reattach();
    EXPECT_EQ(store->token(), token);
    EXPECT_FALSE(store->replaced());
    SessionRecord out;
    EXPECT_TRUE(store->copy(name_of(9), out));
    EXPECT_TRUE(whole(out));
    BladeId blade = 0;
    EXPECT_TRUE(store->control().read([&](const StoreControl& now) { blade = now.blade_id; }));
    EXPECT_EQ(blade, 3);
}

TEST(Store, OneAgentOnly) {
    TempStore store;
    const auto second = Store::create(store.path(), 4 << 20, "", nullptr);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("another agent"), std::string::npos) << second.error().message;
}

TEST(Store, OpenSaysWhatIsWrong) {
    TempStore store;
    EXPECT_NE(Store::open(store.path() + "x").error().message.find("No such file"), std::string::npos);
    {
        const int fd = open((store.path() + "y").c_str(), O_CREAT | O_RDWR, 0600);
        ASSERT_EQ(ftruncate(fd, 2 << 20), 0);
        close(fd);
    }
    EXPECT_NE(Store::open(store.path() + "y").error().message.find("layout"), std::string::npos);
    const auto no_group = Store::create(store.path() + "z", 4 << 20, "no-such-group-here", nullptr);
    ASSERT_FALSE(no_group);
    EXPECT_NE(no_group.error().message.find("server_group"), std::string::npos);
}

TEST(Store, FreedSecretsAreWiped) {
    TempStore store;
    SessionRecord record;
    fill(record, 4, 3000);
    constexpr std::string_view kMark = "a secret that must not stay";
    std::memcpy(record.der.data(), kMark.data(), kMark.size());
    std::memcpy(record.der.data() + 2900, kMark.data(), kMark.size());
    ASSERT_EQ(store->put(record), Store::Put::kStored);
    const StoreMemory memory(store.path());
    const std::string_view content(reinterpret_cast<const char*>(memory.bytes()), memory.size());
    EXPECT_NE(content.find(kMark), std::string::npos);
    EXPECT_TRUE(store->erase(record.name));
    EXPECT_EQ(content.find(kMark), std::string::npos);
}

TEST(Store, ControlBlockIsReadWhole) {
    TempStore store;
    EXPECT_FALSE(store->control().read([](const StoreControl&) {}));
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        StoreControl control;
        control.endpoint_count = StoreControl::kMaxEndpoints;
        for (uint8_t i = 0; !stop; i++) {
            control.blade_id = BladeId::or_none(i);
            for (auto& key : control.name_keys) key.key.fill(i);
            for (auto& endpoint : control.endpoints) endpoint.port = i;
            store->set_control(control);
        }
    });
    StoreControl seen;
    const auto copy = [&](const StoreControl& control) { seen = control; };
    while (!store->control().read(copy)) std::this_thread::yield();
    for (int i = 0; i < 20000; i++) {
        if (!store->control().read(copy)) continue;
        for (const auto& key : seen.name_keys)
            for (const uint8_t byte : key.key) ASSERT_EQ(byte, seen.blade_id);
        for (const auto& endpoint : seen.endpoints) ASSERT_EQ(endpoint.port, seen.blade_id);
    }
    stop = true;
    writer.join();
}

TEST(Store, PolicyIsFoundByAddress) {
    StoreControl control;
    const ServiceEndpoint v4{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 1}, 443, 1};
    ServiceEndpoint other = v4;
    other.port = 8443;
    EXPECT_EQ(control.slot_of(v4), 0);
    control.endpoints[control.endpoint_count++] = v4;
    EXPECT_EQ(control.slot_of(v4), 1);
    EXPECT_EQ(control.slot_of(other), 0);
    control.endpoint_count = UINT16_MAX;  // shared memory: whatever it says, no further than there is
    control.endpoints[0].slot = UINT16_MAX;
    EXPECT_EQ(control.slot_of(v4), 0);
    EXPECT_EQ(control.slot_of(other), 0);
}

TEST(Store, CostsGoWithTheService) {
    TempStore store;
    StoreControl control;
    control.service_count = 2;
    control.services[1].service = ServiceId::of("www");
    store->set_control(control);
    EXPECT_TRUE(store->costs().empty());
    store->add_cost(1, true, false, 500, 1000);
    store->add_cost(1, true, false, 100, 200);
    store->add_cost(0, false, true, 7, 8);
    store->add_cost(UINT16_MAX, false, true, 7, 8);
    store->set_control(control);
    auto costs = store->costs();
    ASSERT_EQ(costs.size(), 2U);
    EXPECT_FALSE(costs[0].service.known());
    EXPECT_TRUE(costs[0].resumed);
    EXPECT_EQ(costs[1].service, ServiceId::of("www"));
    EXPECT_TRUE(costs[1].tls13 && !costs[1].resumed);
    EXPECT_EQ(costs[1].count, 2U);
    EXPECT_EQ(costs[1].cpu_ns, 600U);
    EXPECT_EQ(costs[1].wall_ns, 1200U);
    control.services[1].service = ServiceId::of("mail");
    store->set_control(control);
    ASSERT_EQ(store->costs().size(), 1U) << "another service begins at nothing";
}

TEST(Store, EarlyDataIsSpentOnceWhereverTheSessionGoes) {
    TempStore here, there;
    SessionRecord record;
    fill(record, 13, 150);
    record.single_use = record.early_data_spent = false;
    ASSERT_EQ(here->put(record), Store::Put::kStored);
    ASSERT_TRUE(here->take(record.name, record));
    EXPECT_FALSE(here->spend_early_data(record.name)) << "it is under way";
    ASSERT_EQ(there->put(record), Store::Put::kStored);
    EXPECT_FALSE(here->spend_early_data(record.name));
    SessionRecord out;
    for (int i = 0; i < 3; i++) EXPECT_TRUE(there->resume(record.name, TlsVersion::tls13, 5000, out));
    EXPECT_TRUE(there->spend_early_data(record.name));
    EXPECT_FALSE(there->spend_early_data(record.name));
    ASSERT_TRUE(there->take(record.name, record));
    EXPECT_TRUE(record.early_data_spent);
    ASSERT_EQ(here->put(record), Store::Put::kStored);
    EXPECT_FALSE(here->spend_early_data(record.name)) << "also when it is back";
    EXPECT_TRUE(here->resume(record.name, TlsVersion::tls13, 5000, out));
}

TEST(Store, ATicketResumesAsOftenAsAFullHandshakeMayBeUsed) {
    TempStore store;
    SessionRecord record, out;
    fill(record, 13, 150);
    record.single_use = false;
    record.uses = kMaxUses - 1;
    ASSERT_EQ(store->put(record), Store::Put::kStored);
    EXPECT_TRUE(store->resume(record.name, TlsVersion::tls13, 5000, out));
    ASSERT_TRUE(store->advance(record.name, kMaxUses - 1, {}));
    EXPECT_FALSE(store->resume(record.name, TlsVersion::tls13, 5000, out));
    EXPECT_FALSE(store->contains(record.name));
}

TEST(Store, UsesOfAReusableSessionFormOneChain) {
    TempStore store;
    put(*store, 2, 150);
    const SessionDigest first{1}, second{2};
    EXPECT_TRUE(store->advance(name_of(2), 0, first));
    EXPECT_FALSE(store->advance(name_of(2), 0, second)) << "it was used meanwhile";
    EXPECT_EQ(store->peek(name_of(2))->uses, 1U);
    EXPECT_EQ(store->peek(name_of(2))->digest, first);
    EXPECT_TRUE(store->advance(name_of(2), 1, second));
    EXPECT_FALSE(store->advance(name_of(3), 0, second));
}

/// Scribbles over all of it, locks and header included, as a hostile server worker could: nothing may crash
/// or hang.
TEST(Store, SurvivesGarbage) {
    std::mt19937_64 random(20);
    TempStore store(1 << 20);
    const StoreMemory memory(store.path());
    uint8_t* const base = memory.bytes();
    const StoreGeometry& geometry = memory.geometry();
    for (int round = 0; round < 3000; round++) {
        for (int i = 0; i < 20; i++) put(*store, random() % 4000, static_cast<uint16_t>(1 + random() % 2000));
        for (int i = 0; i < 5; i++) {
            const uint64_t at = sizeof(LockWord) + random() % (geometry.shard_bytes - sizeof(LockWord) - 4);
            const auto value = static_cast<uint32_t>(random() % 3 ? random() % 5000 : random());
            std::memcpy(base + layout::kHeaderSize + (random() % geometry.shards) * geometry.shard_bytes + at,
                        &value, sizeof value);
            std::memcpy(base + random() % (layout::kHeaderSize - 4), &value, sizeof value);
        }
        SessionRecord out;
        for (int i = 0; i < 20; i++) {
            store->resume(name_of(random() % 4000), random() % 2 ? TlsVersion::tls12 : TlsVersion::tls13,
                          5000, out);
            store->take(name_of(random() % 4000), out);
            store->erase(name_of(random() % 4000));
        }
        Store::Cursor cursor;
        while (!cursor.done()) store->list(cursor, Store::Which::kAll, 500);
        for (uint32_t i = 0; i < geometry.shards; i++) store->sweep(5000);
    }
}

}  // namespace
}  // namespace keyrail
