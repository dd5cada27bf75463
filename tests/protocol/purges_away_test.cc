// SPDX-License-Identifier: Apache-2.0
// Purges of what is away: services that are configured no more, repositories that nobody names at the time.
#include <gmock/gmock.h>

#include <fstream>
#include <set>

#include "dataplane/common/hex.h"
#include "tests/support/redis_server.h"
#include "tests/support/restore_bench.h"

namespace keyrail::testing {
namespace {

using ::testing::HasSubstr;

class PurgesAway : public RestoreBench {
  protected:
    /// Also with a service of this name; "": without.
    [[nodiscard]] std::string config_with(const std::string& service) const {
        const std::string www = good_config() + "repository = \"lmdb\"\n";
        if (service.empty()) return www;
        return www + fmt::format(
                         "[[service]]\nname = \"{}\"\naddresses = [\"198.51.100.2\"]\nport = 443\n"
                         "pool = \"web\"\nrepository = \"lmdb\"\n",
                         service);
    }
    void configure(const std::string& text) {
        write_config(text);
        const auto applied = keyrail({"config", "reload"});
        ASSERT_EQ(applied.status, 0) << applied.text;
    }
    void restart() {
        start();
        require([&] { return connected() == 2; }, "the agents are connected again");
    }
    /// Where a repository of this kind is in use, by what keyraild finds when it starts again.
    [[nodiscard]] std::set<std::string> used_places(const std::string& kind) const {
        std::ifstream file(chassis.directory() / "state/configured.json");
        return nlohmann::json::parse(file).at("repositories").at(kind).get<std::set<std::string>>();
    }
    SessionName put_mail(BladeId blade) { return put_session(blade, false, "lmdb", "mail"); }
    Answer purge(const std::string& service) { return keyrail({"session", "purge", "--service", service}); }
};

TEST_F(PurgesAway, AServiceThatWasRemoved) {
    write_config(config_with("mail"));
    start_all();
    const SessionName mail = put_mail(1), elsewhere = put_mail(2), www = put_session(1, false);
    settle();
    configure(config_with(""));
    const auto purged = purge("mail");
    EXPECT_EQ(purged.status, 0) << purged.text;
    EXPECT_EQ(purged.json["purged"], 2);
    EXPECT_TRUE(purged.json["removed"].is_string()) << purged.text;
    EXPECT_TRUE(purged.json["failed"].empty()) << purged.text;
    EXPECT_FALSE(stores[1]->contains(mail) || stores[2]->contains(elsewhere));
    EXPECT_TRUE(stores[1]->contains(www));
    EXPECT_THAT(keyrail_for_people({"session", "purge", "--service", "mail"}).text,
                HasSubstr("service 'mail' was removed (20"));
    const auto mistyped = purge("mial");
    EXPECT_NE(mistyped.status, 0);
    EXPECT_THAT(mistyped.text, HasSubstr("there is no service 'mial'"));
    EXPECT_THAT(mistyped.text, HasSubstr("there are: www"));
    // Nor is there a sealed copy, when the service is back and the blade dead.
    configure(config_with("mail"));
    real_agents.erase(1);
    EXPECT_EQ(move(mail, 1, 2), link::NOT_FOUND);
    EXPECT_EQ(move(www, 1, 2), link::MOVED);
}

TEST_F(PurgesAway, AServiceThatWasRemovedWhileKeyraildWasAway) {
    write_config(config_with("mail"));
    start_all();
    const SessionName mail = put_mail(1);
    kill_daemon();
    write_config(config_with(""));
    restart();
    EXPECT_EQ(purge("mail").json["purged"], 1);
    EXPECT_FALSE(stores[1]->contains(mail));
    kill_daemon();
    restart();
    EXPECT_EQ(purge("mail").status, 0) << "it is known longer than one keyraild lives";
}

/// By its name it is the same one, with the sessions that it had.
TEST_F(PurgesAway, AServiceThatIsThereAgain) {
    write_config(config_with("mail"));
    start_all();
    const SessionName before = put_mail(1);
    settle();
    configure(config_with(""));
    configure(config_with("mail"));
    EXPECT_TRUE(stores[1]->contains(before));
    const auto purged = purge("mail");
    EXPECT_EQ(purged.json["purged"], 1);
    EXPECT_TRUE(purged.json["removed"].is_null()) << purged.text;
    // What it makes after a purge that came while it was away is not meant by that.
    configure(config_with(""));
    EXPECT_EQ(purge("mail").status, 0);
    configure(config_with("mail"));
    const SessionName after = put_mail(1);
    settle();
    EXPECT_TRUE(stores[1]->contains(after));
    real_agents.erase(1);
    EXPECT_EQ(move(after, 1, 2), link::MOVED);
}

TEST_F(PurgesAway, AServiceThatWasRenamed) {
    write_config(config_with("mail"));
    start_all();
    const SessionName mail = put_mail(1);
    settle();
    configure(config_with("post"));
    EXPECT_EQ(purge("post").json["purged"], 0) << "another one, though its address is the same";
    ASSERT_TRUE(stores[1]->contains(mail));
    real_agents.erase(1);
    EXPECT_EQ(move(mail, 1, 2), link::NOT_FOUND) << "of a service that no blade serves now";
    start_agent(1);
    require([&] { return connected() == 2; }, "blade 1 is back");
    EXPECT_EQ(purge("mail").json["purged"], 1);
    EXPECT_FALSE(stores[1]->contains(mail));
}

// --- repositories: nobody tells one that is not in use what became of its sessions

TEST_F(PurgesAway, ARepositoryThatNobodyNamesMeanwhile) {
    start_all();
    for (const bool restarts : {false, true})
        for (const std::string what : {"--all", "--service", "one"}) {
            SCOPED_TRACE(what + (restarts ? ", and keyraild is restarted" : ""));
            const SessionName name = put_session(1, false);
            settle();
            configure(good_config());
            std::vector<std::string> words{"session", "purge", "--yes", what == "one" ? to_hex(name) : what};
            if (what == "--service") words.emplace_back("www");
            const auto purged = keyrail(words);
            EXPECT_EQ(purged.json["purged"], 1) << purged.text;
            EXPECT_TRUE(purged.json["failed"].empty()) << purged.text;
            if (restarts) {
                kill_daemon();
                restart();
            }
            configure(config_with(""));
            real_agents.erase(1);
            EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
            EXPECT_FALSE(stores[2]->contains(name));
            start_agent(1);
            require([&] { return connected() == 2; }, "blade 1 is back");
        }
}

TEST_F(PurgesAway, WhatWasUsedUpWhileItsRepositoryWasNotInUse) {
    start_all();
    const SessionName name = put_session(1);
    settle();
    configure(good_config());
    SessionRecord used;
    ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), used));
    settle();
    kill_daemon();  // and it has forgotten what agents told it
    restart();
    configure(config_with(""));
    EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
    EXPECT_FALSE(stores[2]->contains(name)) << "it could be used a second time";
}

/// A keyraild that is killed a moment later must not take it for one that was not in use, and empty it.
TEST_F(PurgesAway, InUseIsWrittenBeforeTheFirstSessionIs) {
    start_all();
    for (int i = 0; i < 4; i++) {
        configure(good_config());
        configure(config_with(""));
        put_session(1, false);
        EXPECT_FALSE(used_places("lmdb").empty()) << i;
    }
}

class RedisAway : public PurgesAway {
  protected:
    RedisServer redis{chassis.directory()};

    [[nodiscard]] std::string config_at(const RedisServer& server, const std::string& more = "") const {
        return good_config() + "repository = \"redis\"\n" +
               fmt::format("[redis]\nnodes = [\"{}\"]\n{}", server.at().text(), more);
    }
    SessionName put_sealed() {
        write_config(config_at(redis));
        start_all();
        const SessionName name = put_session(1, false, "redis");
        settle();
        return name;
    }
};

TEST_F(RedisAway, AnotherOneIsInUseMeanwhile) {
    const SessionName name = put_sealed();
    RedisServer other(chassis.directory());
    configure(config_at(other));
    EXPECT_EQ(purge("www").status, 0);
    settle();       // agents have told what is gone, to a keyraild that does not use the first one
    kill_daemon();  // and it has forgotten it
    restart();
    configure(config_at(redis));
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
}

/// A purge waits for a repository that is down. The operator mends its configuration, and keyraild has
/// another connection to it then.
TEST_F(RedisAway, ItIsReachedInAnotherWayThanBefore) {
    const SessionName name = put_sealed();
    const auto password = chassis.directory() / "password";
    std::ofstream(password) << "wrong\n";
    configure(config_at(redis, fmt::format("password_file = \"{}\"\n", password.string())));
    const auto purged = purge("www");
    EXPECT_EQ(purged.status, 7);  // partly
    EXPECT_THAT(purged.text, HasSubstr("a repository is not purged yet"));
    configure(config_at(redis));
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::NOT_FOUND);
}

TEST_F(RedisAway, ItIsReachedInAnotherWayAndKeepsWhatItHas) {
    const SessionName name = put_sealed();
    const auto password = chassis.directory() / "password";
    std::ofstream(password) << "wrong\n";
    configure(config_at(redis, fmt::format("password_file = \"{}\"\n", password.string())));
    configure(config_at(redis));
    real_agents.erase(1);
    EXPECT_EQ(move(name, 1, 2), link::MOVED);
}

}  // namespace
}  // namespace keyrail::testing
