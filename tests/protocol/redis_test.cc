// SPDX-License-Identifier: Apache-2.0
// The Redis repository against real redis-servers, on loopback: alone, with a password in TLS, as a cluster
// whose slots move.
#include "control/repository/redis_repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <chrono>
#include <fstream>

#include "control/pki/ca.h"
#include "control/repository/redis_cluster.h"
#include "tests/support/redis_server.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;
using testing::TempDirectory;
using Server = testing::RedisServer;
using testing::eventually;
using testing::Words;

uint64_t now_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

SessionName name_of(uint8_t byte) {
    SessionName name;
    name.fill(byte);
    return name;
}

Result<void> put(Repository& repository, uint8_t byte, const std::string& sealed, uint64_t life_ms = 60'000) {
    const RepositoryChange change{name_of(byte), now_ms() + life_ms, sealed};
    return repository.apply({&change, 1});
}

std::unique_ptr<Repository> repository_at(RedisOptions options) {
    if (options.chassis.empty()) options.chassis = "test";
    auto opened = open_redis_repository(options);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
}

class Redis : public ::testing::Test {
  protected:
    TempDirectory directory_;
};

TEST_F(Redis, TakesOnceForgetsAndExpires) {
    Server server(directory_.path());
    ASSERT_EQ(server.ask({"PING"}), "PONG");
    const auto one = repository_at({.nodes = {server.at()}}), two = repository_at({.nodes = {server.at()}});
    const std::string sealed("bytes\0of all kinds\r\n", 20);
    ASSERT_TRUE(put(*one, 1, sealed));
    EXPECT_THAT(*two->take(name_of(1), 0), Optional(sealed)) << "by another keyraild";
    EXPECT_EQ(*one->take(name_of(1), 0), std::nullopt);
    ASSERT_TRUE(put(*one, 2, "used up"));
    ASSERT_TRUE(put(*one, 2, ""));
    EXPECT_EQ(*one->take(name_of(2), 0), std::nullopt);
    ASSERT_TRUE(put(*one, 3, "short", 30));
    EXPECT_TRUE(eventually([&] { return server.ask({"DBSIZE"}) == "0"; }));

    const auto other = repository_at({.nodes = {server.at()}, .chassis = "other"});
    ASSERT_TRUE(put(*one, 4, "mine"));
    ASSERT_TRUE(put(*other, 4, "its"));
    ASSERT_TRUE(one->clear());
    EXPECT_EQ(*one->take(name_of(4), 0), std::nullopt);
    EXPECT_THAT(*other->take(name_of(4), 0), Optional(std::string("its"))) << "another chassis has its own";
}

TEST_F(Redis, ThatIsDownIsAnErrorAndComesBack) {
    Server server(directory_.path());
    ASSERT_EQ(server.ask({"PING"}), "PONG");
    const auto repository = repository_at({.nodes = {server.at()}});
    ASSERT_TRUE(put(*repository, 1, "s"));
    server.kill();
    EXPECT_THAT(put(*repository, 1, "s").error().message, HasSubstr("redis 127.0.0.1:"));
    EXPECT_FALSE(repository->sweep(0));
    server.start();
    EXPECT_TRUE(eventually([&] { return repository->sweep(0).has_value(); }));
    EXPECT_TRUE(put(*repository, 1, "s"));
}

TEST_F(Redis, WithPasswordInTls) {
    const auto pki = directory_.path() / "pki";
    ASSERT_TRUE(pki::init_chassis(pki, "redis"));
    // Redis' certificates name an address; those of the chassis CA do not: one made by openssl.
    const std::string make = "cd " + pki.string() +
                             " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                             "-keyout s.key -out s.pem -days 1"
                             " -subj /CN=redis -addext subjectAltName=IP:127.0.0.1 2>/dev/null";
    ASSERT_EQ(std::system(make.c_str()), 0);
    Server server(directory_.path(),
                  {"--tls-cert-file", pki / "s.pem", "--tls-key-file", pki / "s.key", "--tls-ca-cert-file",
                   pki / "s.pem", "--tls-auth-clients", "no", "--requirepass", "open sesame"},
                  true);
    std::ofstream(pki / "password") << "open sesame\n";
    std::ofstream(pki / "wrong") << "guess\n";
    RedisOptions options{.nodes = {server.at()}, .password_file = pki / "password", .ca = pki / "s.pem"};
    const auto repository = repository_at(options);
    EXPECT_TRUE(eventually([&] { return repository->sweep(0).has_value(); }));
    ASSERT_TRUE(put(*repository, 1, "sealed"));
    EXPECT_THAT(*repository->take(name_of(1), 0), Optional(std::string("sealed")));

    options.password_file = pki / "wrong";
    EXPECT_THAT(put(*repository_at(options), 1, "s").error().message, HasSubstr("WRONGPASS"));
    options.password_file = pki / "password";
    options.ca = pki / "ca.pem";
    EXPECT_THAT(put(*repository_at(options), 1, "s").error().message, HasSubstr("certificate is refused"));
    options.ca.clear();
    EXPECT_FALSE(put(*repository_at(options), 1, "s")) << "in the clear";
}

TEST_F(Redis, AsAClusterWhoseSlotsMove) {
    const Words cluster{"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"};
    Server one(directory_.path(), cluster), two(directory_.path(), cluster);
    ASSERT_EQ(one.ask({"CLUSTER", "ADDSLOTSRANGE", "0", "8191"}), "OK");
    ASSERT_EQ(two.ask({"CLUSTER", "ADDSLOTSRANGE", "8192", "16383"}), "OK");
    ASSERT_EQ(one.ask({"CLUSTER", "MEET", "127.0.0.1", std::to_string(two.at().port)}), "OK");
    const auto knows_all = [](Server& server) {
        const std::string info = server.ask({"CLUSTER", "INFO"});
        return info.find("cluster_slots_assigned:16384") != std::string::npos &&
               info.find("cluster_state:ok") != std::string::npos;
    };
    ASSERT_TRUE(eventually([&] { return knows_all(one) && knows_all(two); }));

    const auto repository = repository_at({.nodes = {one.at()}});
    for (int i = 0; i < 50; i++)
        if (auto done = put(*repository, static_cast<uint8_t>(i), "s" + std::to_string(i)); !done)
            FAIL() << done.error().message;
    EXPECT_NE(one.ask({"DBSIZE"}), "0");
    EXPECT_NE(two.ask({"DBSIZE"}), "0");

    // The slot of one name goes to the other node: first it is under way (ASK), then it is there (MOVED).
    const std::string key = "keyrail:test:" + std::string(64, '7');  // name_of(0x77)
    const uint16_t slot = redis_slot(key);
    Server &from = slot < 8192 ? one : two, &to = slot < 8192 ? two : one;
    const std::string from_id = from.ask({"CLUSTER", "MYID"}), to_id = to.ask({"CLUSTER", "MYID"});
    const std::string number = std::to_string(slot);
    ASSERT_EQ(to.ask({"CLUSTER", "SETSLOT", number, "IMPORTING", from_id}), "OK");
    ASSERT_EQ(from.ask({"CLUSTER", "SETSLOT", number, "MIGRATING", to_id}), "OK");
    ASSERT_TRUE(put(*repository, 0x77, "asked"));
    EXPECT_THAT(*repository->take(name_of(0x77), 0), Optional(std::string("asked")));
    ASSERT_EQ(to.ask({"CLUSTER", "SETSLOT", number, "NODE", to_id}), "OK");
    ASSERT_EQ(from.ask({"CLUSTER", "SETSLOT", number, "NODE", to_id}), "OK");
    ASSERT_TRUE(put(*repository, 0x77, "moved"));
    EXPECT_THAT(*repository->take(name_of(0x77), 0), Optional(std::string("moved")));
    EXPECT_THAT(*repository->take(name_of(5), 0), Optional(std::string("s5")));
    EXPECT_TRUE(repository->sweep(0));
    ASSERT_TRUE(repository->clear());
    EXPECT_EQ(one.ask({"DBSIZE"}), "0");
    EXPECT_EQ(two.ask({"DBSIZE"}), "0");
}

TEST(RedisSlots, NonsenseIsRefused) {
    redisReply nonsense{};
    const HostPort asked{*parse_ip("127.0.0.1"), 6379};
    for (const int type : {REDIS_REPLY_STRING, REDIS_REPLY_ARRAY, REDIS_REPLY_INTEGER, REDIS_REPLY_NIL}) {
        nonsense.type = type;
        EXPECT_FALSE(slots_in(nonsense, asked)) << type;
    }
    redisReply* inner = &nonsense;
    redisReply outer{};
    outer.type = REDIS_REPLY_ARRAY;
    outer.elements = 1;
    outer.element = &inner;
    EXPECT_FALSE(slots_in(outer, asked));
    nonsense.type = REDIS_REPLY_ERROR;
    EXPECT_EQ(slots_in(nonsense, asked)->begin()->second.second, asked) << "no cluster: it has every slot";
}

}  // namespace
}  // namespace keyrail
