// SPDX-License-Identifier: Apache-2.0
// keyraild's configuration: what a good one says, and what each mistake is answered with.
#include "control/daemon/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kGood = R"([chassis]
name = "lab"
run_dir = "/run/keyrail"
state_dir = "state"
listen = "[fd77::1]:7400"
ca = "ca.pem"
certificate = "control.pem"
key = "control.key"

[[blade]]
id = 2
name = "two"
address = "10.77.0.12"
agent = "10.77.0.112:7500"
[[blade]]
id = 1
name = "one"
address = "10.77.0.11"

[[pool]]
name = "web"
blades = [2, 1]

[[service]]
name = "www"
addresses = ["198.51.100.1", "2001:db8:100::1"]
port = 443
pool = "web"
hold_budget = "5ms"
session_lifetime = "1h"
[[service]]
name = "plain"
addresses = ["198.51.100.1"]
port = 80
pool = "web"
steering = "tuple"
[[service]]
name = "old"
addresses = ["198.51.100.2"]
port = 443
pool = "web"
binding = "early"
hello_limit = 65536
tickets = "single-use"
early_data = true
id_context = "shop"
[[ticket_key]]
name = "000102030405060708090a0b0c0d0eFf"
blade = 2
)";

class ConfigTest : public ::testing::Test {
  protected:
    ConfigTest() {
        char name[] = "/tmp/keyrail-config-XXXXXX";
        dir = mkdtemp(name);
        for (const char* file : {"ca.pem", "control.pem", "control.key"}) std::ofstream(dir / file) << "x";
    }
    ~ConfigTest() override { fs::remove_all(dir); }

    auto read(const std::string& text) {
        std::ofstream(dir / "k.toml") << text;
        return read_config(dir / "k.toml");
    }
    /// The good configuration with one change.
    static std::string changed(const std::string& from, const std::string& to) {
        std::string text = kGood;
        const size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return text.replace(at, from.size(), to);
    }

    fs::path dir;
};

TEST_F(ConfigTest, Repositories) {
    const auto with = [&](const std::string& service, const std::string& tables) {
        return read(changed("hold_budget", service + "\nhold_budget") + tables);
    };
    const auto none = read(kGood);
    EXPECT_EQ(none->services[0].repository, RepositoryKind::none);
    const auto lmdb = with("repository = \"lmdb\"", "[lmdb]\nsize_mb = 64\n");
    ASSERT_TRUE(lmdb) << lmdb.error().front();
    EXPECT_EQ(lmdb->services[0].repository, RepositoryKind::lmdb);
    EXPECT_EQ(lmdb->lmdb_bytes, 64U << 20);
    std::ofstream(dir / "password") << "secret\n";
    const auto redis = with("repository = \"redis\"",
                            "[redis]\nnodes = [\"10.0.0.1:6379\", \"[fd00::1]:6380\"]\nca = \"ca.pem\"\n"
                            "user = \"keyrail\"\npassword_file = \"password\"\n");
    ASSERT_TRUE(redis) << redis.error().front();
    EXPECT_EQ(redis->services[0].repository, RepositoryKind::redis);
    EXPECT_EQ(redis->redis.nodes[1].text(), "[fd00::1]:6380");
    EXPECT_EQ(redis->redis.ca, dir / "ca.pem");
    EXPECT_EQ(redis->redis.chassis, "lab");

    const auto refusal = [&](const std::string& service, const std::string& tables) {
        const auto config = with(service, tables);
        return config ? "accepted" : config.error().front();
    };
    const std::string nodes = "[redis]\nnodes = [\"10.0.0.1:6379\"]\n";
    EXPECT_THAT(refusal("repository = \"disk\"", ""), HasSubstr("write \"none\", \"lmdb\" or \"redis\""));
    EXPECT_THAT(refusal("repository = \"redis\"", ""), HasSubstr("add a [redis] table"));
    EXPECT_THAT(refusal("", "[redis]\nnodes = [\"redis.local:6379\"]\n"), HasSubstr("nodes"));
    EXPECT_THAT(refusal("", nodes + "password_file = \"nowhere\"\n"), HasSubstr("there is no file"));
    EXPECT_THAT(refusal("", nodes + "certificate = \"control.pem\"\n"), HasSubstr("give both or none"));
    EXPECT_THAT(refusal("", nodes + "user = \"keyrail\"\n"), HasSubstr("password_file"));
    EXPECT_THAT(refusal("", "[lmdb]\nsize_mb = 0\n"), HasSubstr("size_mb"));
}

TEST_F(ConfigTest, GoodOne) {
    const auto config = read(kGood);
    ASSERT_TRUE(config) << config.error().front();
    EXPECT_EQ(config->name, "lab");
    EXPECT_EQ(config->dataplane, "/run/keyrail/dp.sock");
    EXPECT_EQ(config->state_dir, dir / "state");
    EXPECT_EQ(config->listen.text(), "[fd77::1]:7400");
    EXPECT_EQ(config->busy_poll.count(), 0);
    EXPECT_TRUE(config->urgent);
    EXPECT_FALSE(config->core);
    EXPECT_EQ(config->stay_awake, std::chrono::seconds(1));
    EXPECT_EQ(config->blades.at(1).agent.text(), "10.77.0.11:7401");
    EXPECT_EQ(config->blades.at(2).agent.text(), "10.77.0.112:7500");
    ASSERT_EQ(config->services.size(), 3u);
    EXPECT_EQ(config->services[0].blades, (std::vector<BladeId>{1, 2}));
    EXPECT_EQ(config->services[0].hold_budget, std::chrono::milliseconds(5));
    EXPECT_EQ(config->services[1].hold_budget, std::nullopt);
    EXPECT_EQ(config->services[0].hello_timeout, std::chrono::milliseconds(100));
    EXPECT_EQ(config->services[0].session_lifetime, std::chrono::hours(1));
    EXPECT_TRUE(config->services[0].by_session);
    EXPECT_FALSE(config->services[1].by_session);
    EXPECT_EQ(config->services[0].binding, Binding::automatic);
    EXPECT_EQ(config->services[0].hello_limit, 16384u);
    EXPECT_TRUE(config->services[0].tickets == TicketUse::early_data_once && !config->services[0].early_data);
    EXPECT_TRUE(config->services[2].tickets == TicketUse::single_use && config->services[2].early_data);
    EXPECT_EQ(config->services[2].id_context, "shop");
    EXPECT_EQ(config->services[2].binding, Binding::early);
    EXPECT_EQ(config->services[2].hello_limit, 65536u);
    ASSERT_EQ(config->ticket_keys.size(), 1u);
    EXPECT_EQ(config->ticket_keys[0].blade, 2);
    EXPECT_EQ(config->ticket_keys[0].name.size(), 16u);
    EXPECT_EQ(static_cast<uint8_t>(config->ticket_keys[0].name[15]), 0xff);
}

TEST_F(ConfigTest, WhatTheDispatcherDoesByItself) {
    const auto as_it_comes = read(kGood);
    ASSERT_TRUE(as_it_comes);
    const ServiceConfig& usual = as_it_comes->services[0];
    EXPECT_EQ(usual.idle_timeout, std::chrono::minutes(150)) << "longer than the keep-alives of Linux";
    EXPECT_TRUE(usual.proxy_protocol && usual.refuse_by_reset && usual.ping);
    std::string text = kGood;
    const std::string at = "hello_limit = 65536\n";
    text.insert(text.find(at) + at.size(),
                "idle_timeout = \"6h\"\nproxy_protocol = false\nrefuse = \"drop\"\nping = false\n");
    const auto changed = read(text);
    ASSERT_TRUE(changed);
    const ServiceConfig& service = changed->services[2];
    EXPECT_EQ(service.idle_timeout, std::chrono::hours(6));
    EXPECT_FALSE(service.proxy_protocol || service.refuse_by_reset || service.ping);
}

TEST_F(ConfigTest, StayAwake) {
    for (const auto& [text, seconds] : {std::pair{"0s", 0}, std::pair{"60s", 60}}) {
        const auto config = read(changed("key = \"control.key\"",
                                         fmt::format("key = \"control.key\"\nstay_awake = \"{}\"", text)));
        ASSERT_TRUE(config) << config.error().front();
        EXPECT_EQ(config->stay_awake, std::chrono::seconds(seconds));
    }
}

TEST_F(ConfigTest, Routes) {
    const auto config = read(changed("session_lifetime = \"1h\"", R"(content_moves = false
[[service.route]]
sni = "*.IMG.example.com"
pool = "web"
[[service.route]]
sni = "www.example.com"
alpn = "h2"
pool = "one")") + "[[pool]]\nname = \"one\"\nblades = [1]\n");
    ASSERT_TRUE(config) << config.error().front();
    const ServiceConfig& service = config->services[0];
    EXPECT_FALSE(service.content_moves);
    EXPECT_TRUE(config->services[1].content_moves);
    ASSERT_EQ(service.routes.size(), 2u);
    EXPECT_EQ(service.routes[0], (RouteConfig{"*.img.example.com", "", "web", {1, 2}}));
    EXPECT_EQ(service.routes[1], (RouteConfig{"www.example.com", "h2", "one", {1}}));
}

TEST(ServiceConfig, MembersAreOfAllItsPools) {
    ServiceConfig service;
    service.blades = {2, 5};
    service.routes = {{"a", "", "x", {1, 2}}, {"b", "", "y", {9}}};
    EXPECT_EQ(service.members(), (std::vector<BladeId>{1, 2, 5, 9}));
    for (const BladeId blade : service.members()) EXPECT_TRUE(service.has_member(blade));
    EXPECT_FALSE(service.has_member(3));
}

constexpr const char* kLifetime = "session_lifetime = \"1h\"";  // where routes of www may stand

struct Mistake {
    const char *what, *from, *to;
    int line;  // where it must be reported
    const char* text;
};

class ConfigMistake : public ConfigTest, public ::testing::WithParamInterface<Mistake> {};

TEST_P(ConfigMistake, IsReportedWithLineAndAdvice) {
    const Mistake& mistake = GetParam();
    const auto config = read(changed(mistake.from, mistake.to));
    ASSERT_FALSE(config);
    ASSERT_EQ(config.error().size(), 1u) << config.error()[0] << "\n" << config.error()[1];
    const std::string& said = config.error().front();
    EXPECT_THAT(said, StartsWith(fmt::format("{}:{}: ", (dir / "k.toml").string(), mistake.line)));
    EXPECT_THAT(said, HasSubstr(mistake.text));
    EXPECT_THAT(said, HasSubstr(";"));  // and what to do
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigMistake,
    ::testing::Values(
        Mistake{"UnknownKey", "hold_budget", "hold_budgett", 29, "did you mean 'hold_budget'?"},
        Mistake{"UnknownTable", "[[pool]]", "[extra]\n[[pool]]", 20, "unknown key 'extra'"},
        Mistake{"DuplicateBladeId", "id = 1", "id = 2", 16, "blade id 2 is already used in line 11"},
        Mistake{"DuplicateBladeName", "\"one\"", "\"two\"", 17,
                "blade name 'two' is already used in line 12"},
        Mistake{"DuplicateAddress", "\"10.77.0.11\"", "\"10.77.0.12\"", 18, "blade address 10.77.0.12"},
        Mistake{"VipTwice", "port = 80", "port = 443", 33,
                "VIP 198.51.100.1 port 443 is already used in line 26"},
        Mistake{"VipTwiceInOneService", "\"2001:db8:100::1\"", "\"198.51.100.1\"", 26, "VIP 198.51.100.1"},
        Mistake{"VipOfABlade", "[\"198.51.100.1\"]", "[\"10.77.0.11\"]", 33, "backplane address of blade 1"},
        Mistake{"VipOfMany", "[\"198.51.100.1\"]", "[\"224.0.0.1\"]", 33, "not an address that clients"},
        Mistake{"VipOfNobody", "[\"198.51.100.1\"]", "[\"::\"]", 33, "not an address that clients"},
        Mistake{"VipOfALink", "[\"198.51.100.1\"]", "[\"fe80::1\"]", 33, "not an address that clients"},
        Mistake{"VipOfTheDispatcher", "[\"198.51.100.1\"]", "[\"fd77::1\"]", 33, "the dispatcher's own"},
        Mistake{"MetricsWhereAgentsConnect", "listen = \"[fd77::1]:7400\"",
                "listen = \"[fd77::1]:7400\"\nmetrics = \"[fd77::1]:7400\"", 6, "'metrics' and 'listen'"},
        Mistake{"MissingFile", "ca = \"ca.pem\"", "ca = \"no.pem\"", 6, "there is no file"},
        Mistake{"WrongType", "port = 443", "port = \"443\"", 27,
                "'port' is a text; it must be a whole number"},
        Mistake{"WrongTypeInList", "[2, 1]", "[2, \"1\"]", 22, "nothing but whole numbers"},
        Mistake{"NotAList", "[2, 1]", "2", 22, "list"},
        Mistake{"TextAsNumber", "name = \"lab\"", "name = 7", 2,
                "'name' is a whole number; it must be a text"},
        Mistake{"SingleBracket", "[chassis]", "[[chassis]]", 1, "[chassis]"},
        Mistake{"IdTooLarge", "id = 1", "id = 4096", 16, "from 1 to 4095"},
        Mistake{"PortZero", "port = 80", "port = 0", 34, "from 1 to 65535"},
        Mistake{"UnknownPool", "pool = \"web\"", "pool = \"wbe\"", 28, "pool 'wbe' is not configured"},
        Mistake{"UnknownBlade", "[2, 1]", "[2, 1, 3]", 22, "names blade 3"},
        Mistake{"BladeTwiceInPool", "[2, 1]", "[2, 1, 2]", 22, "names blade 2 twice"},
        Mistake{"EmptyPool", "[2, 1]", "[]", 22, "an empty list"},
        Mistake{"BadAddress", "\"10.77.0.11\"", "\"10.77.0\"", 18, "not an IP address"},
        Mistake{"BadListen", "[fd77::1]:7400", "fd77::1:7400", 5, "not an address and port"},
        Mistake{"BadDuration", "\"5ms\"", "\"5\"", 29, "not a duration"},
        Mistake{"LongDuration", "\"5ms\"", "\"2s\"", 29, "from 0us to 1s"},
        Mistake{"BadSteering", "\"tuple\"", "\"tupel\"", 36, "\"session\" or \"tuple\""},
        Mistake{"BadBinding", "\"early\"", "\"erly\"", 42, "\"auto\", \"late\" or \"early\""},
        Mistake{"BindingOfTuples", "steering = \"tuple\"", "steering = \"tuple\"\nbinding = \"late\"", 37,
                "means nothing"},
        Mistake{"HelloLimitTooLarge", "hello_limit = 65536", "hello_limit = 65537", 43, "from 1024 to 65536"},
        Mistake{"BadRefusal", "hello_limit = 65536", "refuse = \"rst\"", 43, "\"reset\" or \"drop\""},
        Mistake{"ShortIdleTimeout", "hello_limit = 65536", "idle_timeout = \"5s\"", 43, "'idle_timeout'"},
        Mistake{"RouteWithoutName", kLifetime, "[[service.route]]\npool = \"web\"", 30, "has no 'sni'"},
        Mistake{"RouteToNowhere", kLifetime, "[[service.route]]\nsni = \"a.b\"\npool = \"x\"", 32,
                "pool 'x' is not configured"},
        Mistake{"RouteOfStars", kLifetime, "[[service.route]]\nsni = \"a.*.b\"\npool = \"web\"", 31,
                "no server name"},
        Mistake{"RouteInUnicode", kLifetime, "[[service.route]]\nsni = \"ä.b\"\npool = \"web\"", 31, "IDNA"},
        Mistake{"RouteOfNoProtocol", kLifetime,
                "[[service.route]]\nsni = \"a.b\"\nalpn = \"\"\npool = \"web\"", 32, "'alpn'"},
        Mistake{"RouteTwice", kLifetime,
                "[[service.route]]\nsni = \"a.b\"\npool = \"web\"\n"
                "[[service.route]]\nsni = \"A.b\"\npool = \"web\"",
                33, "already used in line 30"},
        Mistake{"RouteAtTheSyn", "id_context = \"shop\"", "[[service.route]]\nsni = \"a.b\"\npool = \"web\"",
                46, "before the ClientHello"},
        Mistake{"RouteOfTuples", "steering = \"tuple\"",
                "steering = \"tuple\"\n[[service.route]]\nsni = \"a.b\"\npool = \"web\"", 37,
                "before the ClientHello"},
        Mistake{"LoadLimit", "address = \"10.77.0.11\"", "address = \"10.77.0.11\"\nload_limit = 101", 19,
                "from 1 to 100"},
        Mistake{"Metrics", "key = \"control.key\"", "key = \"control.key\"\nmetrics = \"9100\"", 9,
                "not an address and port"},
        Mistake{"HttpsWhereAgentsConnect", "[[ticket_key]]",
                "[https]\nlisten = \"[fd77::1]:7400\"\nca = \"control.pem\"\ncertificate = "
                "\"control.pem\"\nkey = \"control.key\"\n[[ticket_key]]",
                48, "so does [chassis]"},
        Mistake{"OperatorsOfTheChassisCa", "[[ticket_key]]",
                "[https]\nlisten = \"[fd77::1]:8443\"\nca = \"ca.pem\"\ncertificate = "
                "\"control.pem\"\nkey = \"control.key\"\n[[ticket_key]]",
                47, "keyrail operator init"},
        Mistake{"HttpsWithoutFiles", "[[ticket_key]]",
                "[https]\nlisten = \"[fd77::1]:8443\"\nca = \"no.pem\"\ncertificate = "
                "\"control.pem\"\nkey = \"control.key\"\n[[ticket_key]]",
                49, "keyrail operator init"},
        Mistake{"AwakeTooLong", "key = \"control.key\"", "key = \"control.key\"\nstay_awake = \"61s\"", 9,
                "to 1min"},
        Mistake{"AwakeNotEvenAsText", "key = \"control.key\"", "key = \"control.key\"\nstay_awake = 1", 9,
                "'stay_awake' is a whole number; it must be"},
        Mistake{"AwakeWithoutUnit", "key = \"control.key\"", "key = \"control.key\"\nstay_awake = \"1\"", 9,
                "not a duration"},
        Mistake{"TicketKeyNoHex", "0eFf", "0eFg", 48, "32 hex digits"},
        Mistake{"TicketKeyTooShort", "0eFf", "0e", 48, "32 hex digits"},
        Mistake{"TicketKeyOfNobody", "blade = 2", "blade = 7", 49, "names blade 7"},
        Mistake{"Tickets", "\"single-use\"", "\"single\"", 44, "\"early-data-once\""},
        Mistake{"EarlyDataReplayed", "\"single-use\"", "\"reusable\"", 45, "could be replayed"},
        Mistake{"IdContext", "\"shop\"", "\"a b\"", 46, "name of a group"},
        Mistake{"BadName", "\"one\"", "\"one two\"", 17, "letters, digits"},
        Mistake{"MissingKey", "address = \"10.77.0.11\"\n", "", 15, "has no 'address'"},
        Mistake{"NotToml", "[[pool]]", "[[pool", 20, "correct the TOML"},
        Mistake{"KeyTwice", "port = 443", "port = 443\nport = 444", 28, "redefine"}),
    [](const auto& instance) { return instance.param.what; });

TEST_F(ConfigTest, AllMistakesAreReportedInOrder) {
    std::string text = changed("id = 1", "id = 0");
    text.replace(text.find("port = 80"), 9, "port = -1");
    const auto config = read(text);
    ASSERT_FALSE(config);
    ASSERT_EQ(config.error().size(), 2u);
    EXPECT_THAT(config.error()[0], HasSubstr(":16: "));
    EXPECT_THAT(config.error()[1], HasSubstr(":34: "));
}

TEST_F(ConfigTest, FileThatIsNotThere) {
    const auto config = read_config(dir / "absent.toml");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error(), ElementsAre(HasSubstr("absent.toml: cannot be read")));
    EXPECT_FALSE(read_config(dir));
}

TEST_F(ConfigTest, EmptyFile) {
    const auto config = read("");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error(), ElementsAre(HasSubstr("has no 'chassis'")));
}

TEST_F(ConfigTest, CertificatesAreLookedInto) {
    std::ofstream(dir / "k.toml") << kGood;
    fs::permissions(dir / "control.key", fs::perms::owner_read);
    const auto config = check_config(dir / "k.toml");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error(), ElementsAre(HasSubstr("ca.pem: no CA certificate")));
}

}  // namespace
}  // namespace keyrail
