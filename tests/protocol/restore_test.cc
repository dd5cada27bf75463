// SPDX-License-Identifier: Apache-2.0
// Sessions that outlive their holder, and copies that do not outlive their session: the real keyraild, real
// agents, a repository in LMDB or in a real Redis. Only the dataplane is played.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "dataplane/common/hex.h"
#include "tests/support/proxy.h"
#include "tests/support/redis_server.h"
#include "tests/support/restore_bench.h"

namespace keyrail::testing {
namespace {

using Restore = RestoreBench;

TEST_F(Restore, TheHolderDies) {
    start_all();
    const SessionName name = put_session(1, false);
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
    SessionRecord restored, original;
    ASSERT_TRUE(stores[2]->copy(name, restored));
    ASSERT_TRUE(stores[1]->copy(name, original));
    EXPECT_TRUE(std::ranges::equal(restored.der_bytes(), original.der_bytes()));
    EXPECT_TRUE(restored.early_data_spent) << "nobody knows whether its early data was used";
    EXPECT_TRUE(restored.moved_in);
    // It comes back, with a store that still has the session: that is a copy now.
    start_agent(1);
    EXPECT_TRUE(gone_from(1, name));
    EXPECT_TRUE(stores[2]->contains(name));
}

TEST_F(Restore, TheHolderHasItNoMore) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord evicted;
    ASSERT_TRUE(stores[1]->take(name, evicted));
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
    EXPECT_TRUE(stores[2]->contains(name));
    ASSERT_TRUE(stores[2]->take(name, evicted));
    require([&] { return repository("waiting") == 0; }, "all is written");
}

/// Blade 2 serves nothing of the service but a route's content.
class RestoreToARoute : public Restore {
  protected:
    RestoreToARoute() {
        std::string config = good_config();
        const std::string both = "blades = [1, 2]";
        config.replace(config.find(both), both.size(),
                       "blades = [1]\n[[pool]]\nname = \"extra\"\nblades = [2]");
        write_config(config +
                     "repository = \"lmdb\"\n[[service.route]]\nsni = \"extra.example.com\"\npool = "
                     "\"extra\"\n");
    }
};

TEST_F(RestoreToARoute, ABladeOfARoutesPoolIsAMember) {
    start_all();
    const SessionName name = put_session(1, false);
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
    EXPECT_TRUE(stores[2]->contains(name));
}

TEST_F(Restore, WhatWasUsedUpIsNotRestored) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord used;
    ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), used));
    require([&] { return repository("removed") >= 1; }, "it is removed from the repository");
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
    EXPECT_FALSE(stores[2]->contains(name));
}

/// What its servers did in their last moments, nobody knows.
TEST_F(Restore, OfSingleUseNothingIsRestoredFromTheDead) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord used;
    ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), used)) << "just before it dies";
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
    EXPECT_FALSE(stores[2]->contains(name));
}

/// A client offers its ticket to two blades, the second time before the first one is told to keyraild.
TEST_F(Restore, WhatWasUsedUpAMomentAgoIsNotRestored) {
    start_all();
    for (int i = 0; i < 20; i++) {
        const SessionName name = put_session(1);
        settle();
        SessionRecord used;
        ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), used));
        ASSERT_EQ(move(name, 1, 2), link::NOT_FOUND) << i;
        ASSERT_FALSE(stores[2]->contains(name));
    }
}

TEST_F(Restore, WhatWasUsedUpWhileKeyraildWasAwayIsKnownWhenItIsBack) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord evicted;
    ASSERT_TRUE(stores[1]->take(name, evicted));
    ASSERT_EQ(move(name, 1, 2), link::MOVED);
    settle();
    const uint64_t before = repository("removed");
    kill_daemon();
    SessionRecord used;
    ASSERT_TRUE(stores[2]->resume(name, TlsVersion::tls13, wall_clock_ms(), used));
    until([] { return false; }, 200);
    start();
    require([&] { return connected() == 2; }, "the agents are connected again");
    EXPECT_EQ(before, 0u);
    EXPECT_TRUE(until([&] { return repository("removed") >= 1; })) << "blade 2 once had it, and says so";
    EXPECT_EQ(move(name, 2, 1), link::NOT_FOUND);
    EXPECT_FALSE(stores[1]->contains(name));
}

TEST_F(Restore, APurgeReachesTheRepository) {
    start_all();
    for (const std::string what : {"--service", "--all"}) {
        const SessionName name = put_session(1, false);
        settle();
        std::vector<std::string> words{"session", "purge", "--yes", what};
        if (what == "--service") words.emplace_back("www");
        const auto purged = keyrail(words);
        EXPECT_EQ(purged.status, 0) << purged.text;
        EXPECT_EQ(purged.json["purged"], 1);
        EXPECT_TRUE(purged.json["failed"].empty()) << purged.text;
        EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND) << what;
        EXPECT_FALSE(stores[2]->contains(name));
    }
}

TEST_F(Restore, AKilledKeyraildLosesNothing) {
    start_all();
    const SessionName name = put_session(1, false);
    kill_daemon();
    start();
    require([&] { return connected() == 2; }, "the agents are connected again");
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
    EXPECT_TRUE(stores[2]->contains(name));
}

TEST_F(Restore, FromRedis) {
    RedisServer redis(chassis.directory());
    write_config(good_config() + "repository = \"redis\"\n" +
                 fmt::format("[redis]\nnodes = [\"{}\"]\n", redis.at().text()));
    start_all();
    const SessionName name = put_session(1, false, "redis");
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
    EXPECT_TRUE(stores[2]->contains(name));
    redis.kill();
    const auto purged = keyrail({"session", "purge", to_hex(name)});
    EXPECT_NE(purged.json["failed"].dump().find("a repository does not answer"), std::string::npos)
        << purged.text;
    EXPECT_TRUE(until([&] { return !report("status")["repositories"]["redis"]["up"].get<bool>(); }));
    EXPECT_EQ(move(new_name(1), 1, 2), link::NOT_FOUND) << "at once: nothing waits for it";
}

/// Killed as the order to take the session out arrives there, or as the answer leaves; and with the message
/// or without.
TEST_F(Restore, TheRepositoryDiesAtEveryStep) {
    for (const auto direction : {Proxy::Direction::there, Proxy::Direction::back})
        for (const bool passes : {false, true}) {
            SCOPED_TRACE(
                fmt::format("{}, {}", direction == Proxy::Direction::there ? "there" : "back", passes));
            RedisServer redis(chassis.directory());
            const uint16_t proxy_port = free_port();
            Proxy proxy(proxy_port, redis.at().port);
            std::atomic<bool> killed = false;
            std::jthread between([&](const std::stop_token& stop) {
                while (!stop.stop_requested()) {
                    proxy.poll();
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                }
            });
            write_config(good_config() + "repository = \"redis\"\n" +
                         fmt::format("[redis]\nnodes = [\"127.0.0.1:{}\"]\n", proxy_port));
            start_all();
            const SessionName name = put_session(1, false, "redis");
            settle();
            real_agents.erase(1);
            require([&] { return keyrail({"blade", "list"}).json[0]["state"] == "down"; }, "blade 1 is down");
            proxy.watch(direction, [&] {
                redis.kill();
                killed = true;
                return passes;
            });
            const link::MoveResult result = move(name, 1, 2);
            EXPECT_TRUE(killed);
            EXPECT_EQ(stores[2]->contains(name), result == link::MOVED);
            // Its blade is back, and with it the session: it is in one place.
            start_agent(1);
            require([&] { return connected() == 2; }, "blade 1 is back");
            EXPECT_TRUE(result != link::MOVED || gone_from(1, name));
            EXPECT_EQ(stores[1]->contains(name) + stores[2]->contains(name), 1);
            real_agents.clear();
            kill_daemon();
        }
}

// --- copies

TEST_F(Restore, ABackupOfAStoreIsWorthNothing) {
    start_all();
    const SessionName name = put_session(1, false);
    SessionRecord backup;
    ASSERT_TRUE(stores[1]->copy(name, backup));
    settle();
    const uint64_t before = repository("stored");
    SessionDigest digest;
    digest.fill(9);
    ASSERT_TRUE(stores[1]->advance(name, 0, digest));
    require([&] { return repository("stored") > before; }, "its use is known");
    ASSERT_EQ(stores[1]->put(backup), Store::Put::kStored);
    EXPECT_TRUE(gone_from(1, name));
}

TEST_F(Restore, ASessionThatWasUsedUpDoesNotComeBack) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord replayed, used;
    ASSERT_TRUE(stores[1]->copy(name, replayed));
    ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), used));
    require([&] { return repository("removed") >= 1; }, "its end is known");
    ASSERT_EQ(stores[1]->put(replayed), Store::Put::kStored);
    EXPECT_TRUE(gone_from(1, name));
}

TEST_F(Restore, OfTwoCopiesTheOneAtTheHolderStays) {
    start_all();
    const SessionName name = put_session(1);
    SessionRecord copy;
    ASSERT_TRUE(stores[1]->copy(name, copy));
    ASSERT_EQ(stores[2]->put(copy), Store::Put::kStored);
    EXPECT_TRUE(gone_from(2, name));
    EXPECT_TRUE(stores[1]->contains(name));
    EXPECT_GE(checkpoints("stale"), 1U);
}

}  // namespace
}  // namespace keyrail::testing
