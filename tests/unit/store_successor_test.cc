// SPDX-License-Identifier: Apache-2.0
// The session store and other processes: one of another size takes its place, servers of its group use it.
#include "tests/support/store_test.h"

namespace keyrail {
namespace {

// --- another size: the store gets a successor

TEST(StoreSuccessor, ServersFindItWithItsSessions) {
    TempStore store(4 << 20);
    for (uint64_t i = 1; i <= 100; i++) put(*store, i, static_cast<uint16_t>(i * 80));
    StoreControl control;
    control.blade_id = 3;
    store->set_control(control);
    auto server = Store::open(store.path());
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_FALSE(server->retired());
    store.reattach(8 << 20);
    ASSERT_TRUE(store->replaced());
    EXPECT_EQ(store->replaced()->carried, 100U);
    EXPECT_EQ(store->replaced()->lost, 0U);
    EXPECT_EQ(store->stats().capacity_bytes / (7 << 20), 1U);

    ASSERT_TRUE(server->retired());
    SessionRecord out;
    EXPECT_FALSE(server->resume(name_of(2), TlsVersion::tls12, 5000, out)) << "two stores have it";
    EXPECT_EQ(server->put(out), Store::Put::kRefused);
    fill(out, 500, 100);
    EXPECT_EQ(server->put(out), Store::Put::kUnavailable) << "nobody would find it there";
    auto now = server->successor();
    ASSERT_TRUE(now) << now.error().message;
    EXPECT_EQ(now->token(), store->token());
    for (uint64_t i = 1; i <= 100; i++) {
        ASSERT_TRUE(now->take(name_of(i), out)) << i;
        EXPECT_TRUE(whole(out));
    }
    EXPECT_TRUE(store->control().read([](const StoreControl& found) { EXPECT_EQ(found.blade_id, 3); }));
}

TEST(StoreSuccessor, TheNewestSessionsFitIntoASmallerOne) {
    TempStore store(4 << 20);
    constexpr uint64_t kMany = 8000;  // of 384 B; 1 MB takes about 2500
    for (uint64_t i = 0; i < kMany; i++) put(*store, i, 150);
    store.reattach(1 << 20);
    const uint64_t kept = store->stats().sessions;
    ASSERT_TRUE(store->replaced());
    EXPECT_EQ(store->replaced()->carried, kept);
    EXPECT_EQ(store->replaced()->lost, kMany - kept);
    EXPECT_GT(kept, 2000U);
    uint64_t newest = 0;
    for (uint64_t i = kMany - 1000; i < kMany; i++) newest += store->contains(name_of(i)) ? 1 : 0;
    EXPECT_GT(newest, 990U);
}

TEST(StoreSuccessor, NothingIsLeftInTheOldOne) {
    TempStore store(4 << 20);
    put(*store, 7, 3000);
    SessionRecord record;
    ASSERT_TRUE(store->copy(name_of(7), record));
    const std::string_view secret(reinterpret_cast<const char*>(record.der.data()), 64);
    const StoreMemory memory(store.path());
    const std::string_view content(reinterpret_cast<const char*>(memory.bytes()), memory.size());
    ASSERT_NE(content.find(secret), std::string::npos);
    store.reattach(8 << 20);
    EXPECT_EQ(content.find(secret), std::string::npos);
}

TEST(StoreSuccessor, OneOfAnotherLayoutIsLeftEmptyHandedAndSaid) {
    TempStore store(4 << 20);
    put(*store, 1, 100);
    auto server = Store::open(store.path());
    StoreMemory(store.path()).header().version++;
    store.reattach();
    ASSERT_TRUE(store->replaced());
    EXPECT_FALSE(store->replaced()->readable);
    EXPECT_TRUE(server->retired());
    EXPECT_EQ(server->successor()->token(), store->token());
}

/// A worker that writes "retired" keeps servers from the store until the agent comes by.
TEST(StoreSuccessor, OneThatIsNoneIsTakenBack) {
    TempStore store;
    put(*store, 2, 100);
    auto server = Store::open(store.path());
    const StoreMemory memory(store.path());
    auto& header = memory.header();
    header.retired.store(1);
    header.token.fill(9);
    EXPECT_TRUE(server->retired());
    EXPECT_FALSE(server->successor());
    store->sweep(0);
    EXPECT_FALSE(server->retired());
    EXPECT_TRUE(Store::open(store.path()));
    SessionRecord out;
    EXPECT_TRUE(server->copy(name_of(2), out));
}

// --- other processes of the servers' group

/// In a child with the rights of a server's worker; true: `what` said so.
bool as_worker(gid_t group, const std::function<bool()>& what) {
    const pid_t child = fork();
    if (child == 0) {
        const bool dropped = setgroups(0, nullptr) == 0 && setgid(group) == 0 && setuid(65534) == 0;
        _exit(dropped && what() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(StoreGuests, UseItAndCannotMakeItSmaller) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char directory[] = "/dev/shm/keyrail-test-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    chmod(directory, 0755);
    const std::string path = std::string(directory) + "/store";
    const struct group* guests = getgrnam("www-data");
    auto store = Store::create(path, 4 << 20, "www-data", nullptr);
    ASSERT_TRUE(store) << store.error().message;
    put(*store, 2, 100);
    EXPECT_TRUE(as_worker(guests->gr_gid, [&] {
        SessionRecord out;
        auto mine = Store::open(path);
        return mine && mine->copy(name_of(2), out);
    })) << "the servers' group may use it";
    EXPECT_FALSE(as_worker(65534, [&] { return Store::open(path).has_value(); })) << "nobody else may";
    EXPECT_FALSE(as_worker(guests->gr_gid, [&] { return truncate(path.c_str(), 0) == 0; }));
    EXPECT_FALSE(as_worker(guests->gr_gid, [&] { return open(path.c_str(), O_RDWR) >= 0; }));
    layout::StoreReference reference{};
    std::ifstream(path).read(reinterpret_cast<char*>(&reference), sizeof reference);
    EXPECT_FALSE(as_worker(guests->gr_gid, [&] {
        shmid_ds status{};
        return shmctl(reference.shmid, IPC_STAT, &status) == 0 &&
               shmctl(reference.shmid, IPC_SET, &status) == 0;
    }));
    EXPECT_FALSE(
        as_worker(guests->gr_gid, [&] { return shmctl(reference.shmid, SHM_UNLOCK, nullptr) == 0; }));
    EXPECT_TRUE(as_worker(guests->gr_gid, [&] {  // all that is left: to make it empty
        void* const base = shmat(reference.shmid, nullptr, 0);
        return madvise(base, 4 << 20, MADV_REMOVE) == 0;
    }));
    SessionRecord out;
    EXPECT_FALSE(store->copy(name_of(2), out));
    put(*store, 3, 100);
    EXPECT_TRUE(store->copy(name_of(3), out));
    std::filesystem::remove_all(directory);
}

/// keyraild sends back a cursor that it has from a larger store, or from nowhere.
TEST(StoreSuccessor, ListsFromAnyCursor) {
    TempStore store;
    put(*store, 9, 700);
    for (const uint32_t shard : {0U, 1U, 63U, 1'000U, 1U << 31, UINT32_MAX})
        for (const uint32_t chunk : {0U, 1U, 1'000'000U, 1U << 31, UINT32_MAX}) {
            Store::Cursor cursor{shard, chunk};
            size_t listed = 0;
            for (int round = 0; !cursor.done(); round++) {
                ASSERT_LT(round, 1000) << shard << ", " << chunk;
                listed += store->list(cursor, Store::Which::kAll, 100).size();
            }
            EXPECT_LE(listed, 1U);
        }
}

}  // namespace
}  // namespace keyrail
