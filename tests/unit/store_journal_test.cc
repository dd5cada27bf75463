// SPDX-License-Identifier: Apache-2.0
// The journal of the session store: what happened to sessions, for the agent.
#include <algorithm>

#include "tests/support/store_test.h"

namespace keyrail {
namespace {

std::vector<std::pair<SessionName, bool>> changes(Store& store, Store::JournalCursor& cursor,
                                                  uint64_t lost = 0) {
    std::vector<Store::Change> read;
    EXPECT_EQ(store.changes(cursor, read), lost);
    std::vector<std::pair<SessionName, bool>> found;
    for (const Store::Change& change : read) found.emplace_back(change.name, change.gone);
    return found;
}

TEST(Journal, TellsWhatHappenedToSessions) {
    TempStore store;
    Store::JournalCursor cursor;
    SessionRecord record, out;
    const auto one = [&](bool gone) { return std::vector{std::pair(record.name, gone)}; };
    EXPECT_TRUE(changes(*store, cursor).empty());
    fill(record, 13, 100);
    store->put(record);
    EXPECT_EQ(changes(*store, cursor), one(false));
    EXPECT_TRUE(changes(*store, cursor).empty()) << "once";
    store->advance(record.name, record.uses, record.digest);
    EXPECT_EQ(changes(*store, cursor), one(false));
    ASSERT_TRUE(store->resume(record.name, record.tls_version, 0, out)) << "single use";
    EXPECT_EQ(changes(*store, cursor), one(true));
    store->put(record);
    store->erase(record.name);
    EXPECT_EQ(changes(*store, cursor).size(), 2U);
    store->put(record);
    changes(*store, cursor);
    ASSERT_TRUE(store->take(record.name, out));
    EXPECT_TRUE(changes(*store, cursor).empty()) << "it moved away";
    store->put(record);
    for (int i = 0; i < 64; i++) store->sweep(record.expires_ms);
    EXPECT_EQ(changes(*store, cursor), one(false)) << "that it expired is known without being told";
}

TEST(Journal, ANewReaderGetsWhatIsStillKnown) {
    TempStore store;
    SessionRecord record;
    fill(record, 13, 100);
    store->put(record);
    store->erase(record.name);
    Store::JournalCursor cursor;
    EXPECT_EQ(changes(*store, cursor).size(), 2U) << "what happened while no agent was there";
}

TEST(Journal, ListsWhatWasUsedLast) {
    TempStore store;
    SessionRecord record, out;
    std::vector<SessionName> names;
    for (uint8_t i = 0; i < 40; i++) {
        fill(record, i, 100);
        store->put(record);
        names.push_back(record.name);
    }
    const auto lately = [&] {
        std::vector<SessionName> found;
        for (Store::Cursor cursor; !cursor.done();)
            for (const SessionInfo& info : store->list_lately(cursor, 7)) found.push_back(info.name);
        return found;
    };
    const auto at = [](const std::vector<SessionName>& all, const SessionName& name) {
        return std::ranges::find(all, name) - all.begin();
    };
    EXPECT_EQ(lately().size(), 40U) << "each once";
    ASSERT_TRUE(store->take(names[5], out));
    store->erase(names[6]);
    for (int i = 0; i < 3; i++) store->advance(names[7], static_cast<uint32_t>(i), record.digest);
    const auto found = lately();
    EXPECT_EQ(found.size(), 38U) << "what is gone is not listed";
    for (size_t i = 0; i < 40; i++) {
        const auto same_shard = [&](const SessionName& name) {
            const uint64_t shards = layout::geometry_of(store.size()).shards;
            return (name_hash(name) ^ name_hash(names[7])) % shards == 0;
        };
        if (i == 5 || i == 6 || i == 7 || !same_shard(names[i])) continue;
        EXPECT_LT(at(found, names[7]), at(found, names[i])) << "used last";
    }
}

TEST(Journal, CountsWhatWasForgotten) {
    TempStore store;
    Store::JournalCursor cursor;
    SessionRecord record;
    fill(record, 13, 100);
    store->put(record);
    changes(*store, cursor);
    constexpr uint64_t kMany = 100'000;
    for (uint64_t i = 0; i < kMany; i++) store->put(record);
    std::vector<Store::Change> read;
    const uint64_t lost = store->changes(cursor, read);
    EXPECT_EQ(lost + read.size(), kMany);
    EXPECT_GT(lost, 0U);
    EXPECT_GT(read.size(), 10U);
}

}  // namespace
}  // namespace keyrail
