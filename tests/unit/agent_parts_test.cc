// SPDX-License-Identifier: Apache-2.0
// The agent's pure parts: configuration, what keyraild assigns, records on the wire, sysctls, load.
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

namespace fs = std::filesystem;

class Folder {
  public:
    Folder() {
        char name[] = "/tmp/keyrail-agent-XXXXXX";
        path_ = mkdtemp(name);
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    fs::path write(const std::string& name, const std::string& content) const {
        fs::create_directories((path_ / name).parent_path());
        std::ofstream(path_ / name) << content;
        return path_ / name;
    }
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

// --- configuration

constexpr const char* kGood = R"([blade]
id = 3
control = "10.77.0.1:7400"
listen = "[fd77::13]:7401"
interface = "back0"
ca = "ca.pem"
certificate = "blade-3.pem"
key = "blade-3.key"
store_size_mb = 8
)";

class AgentConfigTest : public ::testing::Test {
  protected:
    AgentConfigTest() {
        for (const char* name : {"ca.pem", "blade-3.pem", "blade-3.key"}) folder.write(name, "");
    }
    /// The mistakes in the file, joined.
    std::string mistakes(const std::string& content) {
        const auto config = load_agent_config(folder.write("agent.toml", content));
        if (config) return "";
        std::string all;
        for (const std::string& line : config.error()) all += line + "\n";
        return all;
    }
    static std::string with(std::string text, const std::string& from, const std::string& to) {
        return text.replace(text.find(from), from.size(), to);
    }
    Folder folder;
};

TEST_F(AgentConfigTest, ReadsWhatIsThereAndKnowsTheRest) {
    const auto config = load_agent_config(folder.write("agent.toml", kGood));
    ASSERT_TRUE(config) << config.error()[0];
    EXPECT_EQ(config->id, 3);
    EXPECT_EQ(config->control.text(), "10.77.0.1:7400");
    EXPECT_EQ(config->listen.text(), "[fd77::13]:7401");
    EXPECT_EQ(config->tls.key, folder.path() / "blade-3.key");
    EXPECT_EQ(config->store, kDefaultStorePath);
    EXPECT_EQ(config->store_bytes, 8U << 20);
    EXPECT_EQ(config->bpffs, "/sys/fs/bpf/keyrail");
    EXPECT_TRUE(config->accept_program);
    EXPECT_EQ(config->busy_poll.count(), 0);
    const std::string polling = with(kGood, "store_size_mb = 8", "busy_poll = \"200us\"");
    EXPECT_EQ(load_agent_config(folder.write("polling.toml", polling))->busy_poll.count(), 200);
    EXPECT_EQ(config->stay_awake, std::chrono::seconds(1));
    for (const auto& [text, seconds] : {std::pair{"0s", 0}, std::pair{"60s", 60}}) {
        const std::string key = fmt::format("stay_awake = \"{}\"", text);
        const auto asleep = load_agent_config(folder.write("a.toml", with(kGood, "store_size_mb = 8", key)));
        ASSERT_TRUE(asleep) << asleep.error()[0];
        EXPECT_EQ(asleep->stay_awake, std::chrono::seconds(seconds));
    }
}

TEST_F(AgentConfigTest, NamesEveryMistakeWithItsLine) {
    EXPECT_NE(mistakes(with(kGood, "id = 3", "id = 4096")).find("agent.toml:2: "), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "10.77.0.1:7400", "nowhere")).find("agent.toml:3: "), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "back0", "an-interface-name-that-is-long")).find("agent.toml:5: "),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "ca.pem", "none.pem")).find("keyrail chassis init"), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "store_size_mb = \"8\"")).find("agent.toml:9: "),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "store = \"here\"")).find("absolute"),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb", "store_size")).find("store_size"), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "busy_poll = \"1s\"")).find("busy_poll"),
              std::string::npos);
    for (const char* value : {"\"61s\"", "\"-1s\"", "\"long\"", "1", "true"})
        EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", fmt::format("stay_awake = {}", value)))
                      .find("agent.toml:9: 'stay_awake'"),
                  std::string::npos)
            << value;
    EXPECT_NE(mistakes(with(kGood, "[blade]", "[blades]")).find("blade"), std::string::npos);
    EXPECT_NE(mistakes("not toml").find("agent.toml"), std::string::npos);
    const std::string two = mistakes(with(with(kGood, "id = 3", "id = 0"), "interface", "interfaces"));
    EXPECT_GE(std::count(two.begin(), two.end(), '\n'), 2) << two;
}

// --- assignment

chassis::Keys good_keys() {
    chassis::Keys keys;
    keys.set_blade_id(3);
    auto& cookie = *keys.add_cookie_keys();
    cookie.set_key_id(1);
    cookie.set_key(std::string(16, 'c'));
    for (const uint32_t generation : {4U, 5U}) {
        auto& name = *keys.add_name_keys();
        name.set_generation(generation);
        name.set_key(std::string(16, static_cast<char>(generation)));
        name.set_current(generation == 5);
    }
    for (const uint32_t port : {443U, 8443U}) {
        auto& service = *keys.add_services();
        service.set_name("s" + std::to_string(port));
        service.add_addresses("198.51.100.1");
        service.add_addresses("2001:db8:100::1");
        service.set_port(port);
        service.set_hold(port == 443);
        service.set_session_lifetime_s(port);
    }
    for (const uint32_t blade : {1U, 3U}) {
        auto& peer = *keys.add_peers();
        peer.set_blade_id(blade);
        peer.set_address("10.77.0.1" + std::to_string(blade) + ":7401");
    }
    return keys;
}

TEST(Assignment, TakesEverythingOver) {
    const auto read = Assignment::from(good_keys(), 3);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_FALSE(read->cookie_keys[0]);
    EXPECT_EQ((*read->cookie_keys[1])[0], 'c');
    EXPECT_EQ(read->name_keys.size(), 2U);
    EXPECT_EQ(read->control.blade_id, 3);
    ASSERT_EQ(read->control.name_key_count, 2);
    EXPECT_EQ(read->control.name_keys[0].generation, 5) << "the current one first";
    EXPECT_EQ(read->control.name_keys[0].key[0], 5);
    EXPECT_EQ(read->control.name_keys[1].generation, 4);
    EXPECT_EQ(read->services.size(), 4U);
    EXPECT_EQ(read->held.size(), 2U);
    EXPECT_TRUE(read->served.has_port(443) && read->served.has_port(8443) && !read->served.has_port(80));
    EXPECT_TRUE(read->served.has("s443") && read->served.has("s8443") && !read->served.has("s"));
    ASSERT_EQ(read->peers.size(), 1U) << "itself is no peer";
    EXPECT_EQ(read->peers.at(1).address.text(), "10.77.0.11:7401");
}

ServiceEndpoint at(std::initializer_list<uint8_t> address, uint16_t port) {
    ServiceEndpoint place{{}, port, 0};
    std::copy_backward(address.begin(), address.end(), place.address.end());
    return place;
}

TEST(Assignment, TellsTheServersThePoliciesOfTheServices) {
    chassis::Keys keys = good_keys();
    keys.mutable_services(0)->set_tickets(chassis::ServiceOnBlade::REUSABLE);
    keys.mutable_services(0)->set_early_data(true);
    keys.mutable_services(1)->set_tickets(chassis::ServiceOnBlade::EARLY_DATA_ONCE);
    keys.mutable_services(1)->set_early_data(true);
    keys.mutable_services(1)->set_id_context("shop");
    const auto read = Assignment::from(keys, 3);
    ASSERT_TRUE(read) << read.error().message;
    const StoreControl& control = read->control;
    const SessionPolicy& first = control.services[control.slot_of(at({0xff, 0xff, 198, 51, 100, 1}, 443))];
    EXPECT_EQ(first.service, ServiceId::of("s443"));
    EXPECT_EQ(first.lifetime_s, 443U);
    EXPECT_EQ(first.tickets, Tickets::kReusable);
    EXPECT_FALSE(first.early_data) << "it could be replayed";
    EXPECT_FALSE(first.has_id_context);
    const SessionPolicy& second = control.services[control.slot_of(
        at({0x20, 0x01, 0x0d, 0xb8, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 8443))];
    EXPECT_EQ(second.service, ServiceId::of("s8443"));
    EXPECT_TRUE(second.tickets == Tickets::kEarlyDataOnce && second.early_data && second.has_id_context);
    EXPECT_NE(second.id_context[0], 0);
    const SessionPolicy& unknown = control.services[0];
    EXPECT_EQ(unknown.service, 0U);
    EXPECT_EQ(unknown.lifetime_s, 443U) << "the strictest of all";
    EXPECT_TRUE(unknown.tickets == Tickets::kEarlyDataOnce && !unknown.early_data && !unknown.has_id_context);
}

TEST(Assignment, TheOnlyServiceIsMeantWhereNoneIsSeen) {
    chassis::Keys keys = good_keys();
    keys.mutable_services()->RemoveLast();
    keys.mutable_services(0)->set_early_data(true);
    const auto read = Assignment::from(keys, 3);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->control.services[0].service, ServiceId::of("s443"));
    EXPECT_TRUE(read->control.services[0].early_data);
}

TEST(Assignment, MoreThanTheServersTableHolds) {
    chassis::Keys keys = good_keys();
    keys.clear_services();
    for (uint32_t i = 0; i < 1000; i++) {
        auto& service = *keys.add_services();
        service.set_name("s" + std::to_string(i));
        service.set_port(1 + i);
        for (int j = 0; j < 5; j++) service.add_addresses("198.51.100." + std::to_string(j));
    }
    keys.mutable_services(999)->set_session_lifetime_s(60);
    const auto read = Assignment::from(keys, 3);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->control.service_count, StoreControl::kMaxServices);
    EXPECT_EQ(read->control.endpoint_count, StoreControl::kMaxEndpoints);
    EXPECT_EQ(read->control.services[0].lifetime_s, 60U) << "one that has no place counts too";
    EXPECT_EQ(read->services.size(), 5000U);
}

TEST(Assignment, RefusesNonsenseWhole) {
    const auto bad = [](const std::function<void(chassis::Keys&)>& change) {
        chassis::Keys keys = good_keys();
        change(keys);
        return !Assignment::from(keys, 3);
    };
    EXPECT_TRUE(bad([](auto& keys) { keys.set_blade_id(2); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_cookie_keys(0)->set_key_id(2); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_cookie_keys(0)->set_key("short"); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_name_keys(0)->set_generation(256); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_name_keys(0)->set_key(std::string(17, 'x')); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_services(0)->set_port(65536); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_services(0)->set_addresses(0, "nowhere"); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_peers(0)->set_blade_id(4096); }));
    EXPECT_TRUE(bad([](auto& keys) { keys.mutable_peers(0)->set_address("10.0.0.1"); }));
    EXPECT_FALSE(bad([](auto&) {}));
}

// --- records

ServedServices www() {
    ServedServices served;
    served.add("www", 443);
    return served;
}

/// A record of `www` that was made at 100 s and lives until 200 s.
void fill_dated(SessionRecord& record, uint16_t size = 100) {
    testing::fill(record, 7, size);
    record.service = ServiceId::of("www");
    record.site.fill(3);
    record.uses = 9;
    record.early_data_spent = true;
    record.created_ms = record.authenticated_ms = 100'000;
    record.expires_ms = 200'000;
}

TEST(Records, ComeBackAsTheyWere) {
    for (const uint16_t size : std::initializer_list<uint16_t>{1, 172, 8192}) {
        SessionRecord record, back;
        fill_dated(record, size);
        chassis::Record message;
        to_message(record, www(), 150'000, message);
        const auto done = from_message(message, www(), 150'000, back);
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_EQ(back.name, record.name);
        EXPECT_EQ(back.tls_version, record.tls_version);
        EXPECT_EQ(back.port, 443);
        EXPECT_EQ(back.service, ServiceId::of("www"));
        EXPECT_EQ(back.digest, record.digest);
        EXPECT_EQ(back.uses, 9U);
        EXPECT_EQ(back.single_use, record.single_use);
        EXPECT_TRUE(back.early_data_spent);
        EXPECT_EQ(back.authenticated_ms, record.authenticated_ms);
        EXPECT_EQ(back.expires_ms, record.expires_ms);
        EXPECT_TRUE(std::ranges::equal(back.der_bytes(), record.der_bytes()));
        EXPECT_EQ(back.site, record.site);
    }
}

TEST(Records, AreDatedByTheReceiversClock) {
    SessionRecord record, back;
    fill_dated(record);
    chassis::Record message;
    to_message(record, www(), 150'000, message);
    for (const uint64_t now : {110'000, 138'000, 162'000, 209'000}) {
        ASSERT_TRUE(from_message(message, www(), now, back)) << now;
        EXPECT_EQ(now - back.created_ms, 50'000U) << "it is 50 s old, whatever the clocks say";
        EXPECT_EQ(back.expires_ms - now, 50'000U);
    }
    for (const uint64_t now : {80'000, 220'000}) {
        const auto refused = from_message(message, www(), now, back);
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message.find("clocks"), std::string::npos);
    }
    to_message(record, www(), 0, message);
    ASSERT_TRUE(from_message(message, www(), 199'000, back)) << "a record that was kept is as old as it says";
    EXPECT_EQ(back.created_ms, 100'000U);
}

TEST(Records, WhatCannotBeIsRefused) {
    const auto refusal = [](const std::function<void(chassis::Record&)>& change) -> std::string {
        SessionRecord record, back;
        fill_dated(record);
        chassis::Record message;
        to_message(record, www(), 150'000, message);
        change(message);
        const auto done = from_message(message, www(), 150'000, back);
        return done ? "" : done.error().message;
    };
    EXPECT_EQ(refusal([](auto&) {}), "");
    EXPECT_THAT(refusal([](auto& m) { m.set_name("short"); }), ::testing::HasSubstr("name has 5"));
    EXPECT_THAT(refusal([](auto& m) { m.set_digest(""); }), ::testing::HasSubstr("digest has 0"));
    EXPECT_THAT(refusal([](auto& m) { m.set_service("mail"); }),
                ::testing::HasSubstr("does not serve 'mail'"));
    EXPECT_THAT(refusal([](auto& m) { m.set_port(80); }), ::testing::HasSubstr("port 80"));
    EXPECT_THAT(refusal([](auto& m) { m.set_session_der(""); }), ::testing::HasSubstr("0 bytes"));
    EXPECT_THAT(refusal([](auto& m) { m.set_expires_ms(149'999); }), ::testing::HasSubstr("expired"));
    EXPECT_THAT(refusal([](auto& m) { m.set_created_ms(250'000); }), ::testing::HasSubstr("future"));
    EXPECT_THAT(refusal([](auto& m) { m.set_sent_ms(UINT64_MAX); }), ::testing::HasSubstr("clocks"));
}

// --- the rest

// --- what the repository and keyraild are told

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

TEST(KernelChecks, SaysWhatToSet) {
    const Folder proc;
    for (const char* name : {"tcp_syncookies", "tcp_timestamps", "tcp_sack", "tcp_window_scaling"})
        proc.write(std::string("net/ipv4/") + name, "1\n");
    EXPECT_TRUE(sysctl_problems(proc.path()).empty());
    proc.write("net/ipv4/tcp_syncookies", "2\n");
    EXPECT_TRUE(sysctl_problems(proc.path()).empty());
    proc.write("net/ipv4/tcp_sack", "0\n");
    fs::remove(proc.path() / "net/ipv4/tcp_timestamps");
    const auto problems = sysctl_problems(proc.path());
    ASSERT_EQ(problems.size(), 2U);
    EXPECT_NE(problems[0].find("tcp_timestamps cannot be read"), std::string::npos);
    EXPECT_NE(problems[1].find("sysctl -w net.ipv4.tcp_sack=1"), std::string::npos);
}

TEST(LoadMeter, IsTheShareOfBusyTime) {
    const Folder proc;
    const fs::path file = proc.write("stat", "cpu 100 0 100 800 0 0 0 0 0 0\n");
    LoadMeter meter(file);
    proc.write("stat", "cpu 150 0 100 850 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 32767U);
    EXPECT_EQ(meter.measure(), 32767U) << "no time has passed";
    proc.write("stat", "garbage");
    EXPECT_EQ(meter.measure(), 32767U);
    proc.write("stat", "cpu 250 0 100 850 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 65535U);
}

TEST(Backoff, GrowsToASecondAndNotBeyond) {
    Backoff backoff;
    EXPECT_LE(backoff.next(), Backoff::kFirst);
    for (int i = 0; i < 20; i++) EXPECT_LE(backoff.next(), Backoff::kMax);
    EXPECT_GE(backoff.next(), Backoff::kMax / 2);
    backoff.reset();
    EXPECT_LE(backoff.next(), Backoff::kFirst);
}

}  // namespace
}  // namespace keyrail
