// SPDX-License-Identifier: Apache-2.0
// Maglev, session names, snapshot: what steering decides with.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "dataplane/core/names.h"
#include "dataplane/core/snapshot.h"
#include "link.pb.h"
#include "tests/support/frames.h"
#include "tests/support/session_names.h"

namespace keyrail {
namespace {

// --- Maglev

std::map<uint16_t, int> shares(const Maglev& ring) {
    std::map<uint16_t, int> count;
    std::mt19937_64 random(3);
    for (int i = 0; i < 100'000; i++) count[ring.at(random())]++;
    return count;
}

TEST(Maglev, SharesAreEven) {
    for (const size_t blades : {1u, 3u, 7u, 50u}) {
        std::vector<BladeId> ids(blades);
        for (size_t i = 0; i < blades; i++) ids[i] = BladeId::or_none(i * 3 + 1);
        const auto count = shares(Maglev(ids));
        ASSERT_EQ(count.size(), blades);
        const double even = 100'000.0 / static_cast<double>(blades);
        for (const auto& [id, n] : count) EXPECT_NEAR(n, even, even * 0.02 + 4 * std::sqrt(even)) << id;
    }
}

TEST(Maglev, OrderDoesNotMatter) {
    const BladeId forward[] = {1, 2, 3}, backward[] = {3, 2, 1};
    const Maglev a(forward), b(backward);
    std::mt19937_64 random(3);
    for (int i = 0; i < 1000; i++) {
        const uint64_t h = random();
        EXPECT_EQ(a.at(h), b.at(h));
    }
}

TEST(Maglev, LeavingDisturbsLittle) {
    const BladeId five[] = {1, 2, 3, 4, 5}, four[] = {1, 2, 4, 5};
    const Maglev before(five), after(four);
    std::mt19937_64 random(3);
    int disturbed = 0, kept = 0;
    for (int i = 0; i < 100'000; i++) {
        const uint64_t h = random();
        if (before.at(h) == 3) continue;
        (before.at(h) == after.at(h) ? kept : disturbed)++;
    }
    EXPECT_LT(disturbed, kept / 10);
}

TEST(Maglev, SharesAreAsTheWeightsSay) {
    const BladeId ids[] = {1, 2, 3};
    const uint8_t weights[] = {100, 50, 10};
    const auto count = shares(Maglev(ids, weights));
    for (size_t i = 0; i < 3; i++)
        EXPECT_NEAR(count.at(ids[i]), 100'000.0 * weights[i] / 160, 1500) << ids[i];
}

TEST(Maglev, AnotherWeightDisturbsLittle) {
    const BladeId ids[] = {1, 2, 3, 4};
    const uint8_t whole[] = {100, 100, 100, 100}, less[] = {100, 100, 80, 100};
    const Maglev before(ids, whole), after(ids, less), without(ids);
    std::mt19937_64 random(3);
    int moved = 0;
    for (int i = 0; i < 10'000; i++) {
        const uint64_t hash = random();
        EXPECT_EQ(before.at(hash), without.at(hash)) << "all the same: as without";
        moved += before.at(hash) != after.at(hash) ? 1 : 0;
    }
    EXPECT_LT(moved, 1500) << "about 500 must";
}

TEST(Maglev, SecondIsAnother) {
    const BladeId two[] = {1, 2};
    const Maglev ring(two);
    std::mt19937_64 random(3);
    int same = 0;
    for (int i = 0; i < 10'000; i++) {
        const uint64_t h = random();
        same += ring.at(h) == ring.second(h);
    }
    EXPECT_LE(same, 2);
    const BladeId one[] = {9};
    EXPECT_EQ(Maglev(one).second(77), 9);
}

// --- names

/// Made with OpenSSL's AES: an implementation that the dispatcher does not use.
SessionName make_name(BladeId blade, uint8_t generation, const std::string& key, uint8_t salt) {
    return keyrail::testing::name_at(std::span(reinterpret_cast<const uint8_t*>(key.data()), key.size()),
                                     generation, blade, salt);
}

const std::string kKeyA(16, 'a'), kKeyB(16, 'b');

link::Snapshot valid_message() {
    link::Snapshot m;
    m.set_generation(5);
    auto* cookie = m.add_cookie_keys();
    cookie->set_key(std::string(16, 'c'));
    cookie->set_current(true);
    for (const auto& [generation, key] : {std::pair{1, kKeyA}, {2, kKeyB}}) {
        auto* name_key = m.add_name_keys();
        name_key->set_generation(generation);
        name_key->set_key(key);
    }
    for (uint32_t id = 1; id <= 3; id++) {
        auto* blade = m.add_blades();
        blade->set_id(id);
        blade->set_address(std::string({10, 77, 0, static_cast<char>(10 + id)}));
        blade->set_intake(link::INTAKE_OPEN);
    }
    auto* service = m.add_services();
    service->set_name("www");
    service->set_port(443);
    service->add_addresses(std::string({static_cast<char>(198), 51, 100, 1}));
    const Address v6 = test::address("2001:db8:100::1");
    service->add_addresses(std::string(v6.begin(), v6.end()));
    for (uint32_t id = 1; id <= 3; id++) service->add_blade_ids(id);
    return m;
}

TEST(Names, AWholeBurstInTwoJobsPerGeneration) {
    const auto snapshot = Snapshot::build(valid_message());
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    const auto decrypter = NameDecrypter::create();
    ASSERT_TRUE(decrypter);
    std::vector<PendingHello> hellos(100);
    for (uint16_t i = 0; i < hellos.size(); i++) {
        hellos[i].facts.name_count = 2;
        hellos[i].facts.names[0] = make_name(BladeId::or_none(i + 1u), 1, kKeyA, static_cast<uint8_t>(i));
        hellos[i].facts.names[1].fill(static_cast<uint8_t>(i));  // random legacy id
    }
    hellos[50].facts.names[0] = make_name(4095, 2, kKeyB, 1);
    hellos[51].facts.names[0] = make_name(51, 1, kKeyB, 1);  // forged with the wrong key
    hellos[52].facts.names[0] = make_name(52, 9, kKeyA, 1);  // a generation that nobody knows
    WorkerStats* stats = new WorkerStats;
    (*decrypter)->decrypt(hellos, **snapshot, *stats);
    for (uint16_t i = 0; i < hellos.size(); i++) {
        const uint16_t expected = i == 50 ? 4095 : i == 51 || i == 52 ? 0 : static_cast<uint16_t>(i + 1);
        EXPECT_EQ(hellos[i].facts.homes[0], expected) << i;
        EXPECT_EQ(hellos[i].facts.homes[1], 0) << i;
    }
    EXPECT_EQ(stats->name_jobs.get(), 4u) << "two for each generation that occurs";
    delete stats;
}

// --- snapshot

TEST(Snapshot, FindsServicesByAddressAndPort) {
    const auto snapshot = Snapshot::build(valid_message());
    ASSERT_TRUE(snapshot);
    EXPECT_EQ((*snapshot)->find(test::address("198.51.100.1"), 443), 0);
    EXPECT_EQ((*snapshot)->find(test::address("2001:db8:100::1"), 443), 0);
    EXPECT_EQ((*snapshot)->find(test::address("198.51.100.1"), 80), kNoService);
    EXPECT_TRUE((*snapshot)->is_vip(test::address("198.51.100.1")));
    EXPECT_FALSE((*snapshot)->is_vip(test::address("198.51.100.2")));
    EXPECT_FALSE(Snapshot::build(link::Snapshot{})) << "no keys: nothing could be answered";
}

TEST(Snapshot, RingHasOnlyBladesThatAreOpenWhileThereAreAny) {
    auto m = valid_message();
    m.mutable_blades(0)->set_intake(link::INTAKE_DRAINING);
    m.mutable_blades(1)->set_intake(link::INTAKE_NONE);
    EXPECT_EQ(shares((*Snapshot::build(m))->pools[0].ring).size(), 1u);
    EXPECT_EQ((*Snapshot::build(m))->pools[0].ring.at(1), 3);
    m.mutable_blades(2)->set_intake(link::INTAKE_NONE);
    EXPECT_EQ((*Snapshot::build(m))->pools[0].ring.at(1), 1) << "draining is better than nothing";
    m.mutable_blades(0)->set_intake(link::INTAKE_NONE);
    EXPECT_TRUE((*Snapshot::build(m))->pools[0].ring.empty());
}

TEST(Snapshot, KnowsWhoCanOpenATicket) {
    auto m = valid_message();
    for (uint32_t blade = 3; blade >= 1; blade--) {  // in any order
        auto* key = m.add_ticket_keys();
        key->set_name(std::string(kTicketKeyNameSize, static_cast<char>('0' + blade)));
        key->set_blade(blade);
    }
    const auto snapshot = Snapshot::build(m);
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    std::vector<uint8_t> name(kTicketKeyNameSize, '2');
    EXPECT_EQ((*snapshot)->ticket_blade(name), 2);
    name.back() = '9';
    EXPECT_EQ((*snapshot)->ticket_blade(name), 0);
    EXPECT_EQ((*snapshot)->ticket_blade({}), 0) << "a hello without a ticket";
}

void add_route(link::Snapshot& m, const std::string& server_name, const std::string& alpn, uint32_t blade) {
    auto* route = m.mutable_services(0)->add_routes();
    route->set_server_name(server_name);
    route->set_alpn(alpn);
    route->add_blade_ids(blade);
}

TEST(Snapshot, OnePoolForTheSameBlades) {
    auto m = valid_message();
    add_route(m, "one.example", "", 1);
    add_route(m, "uno.example", "", 1);
    add_route(m, "two.example", "", 2);
    const auto snapshot = Snapshot::build(m);
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    EXPECT_EQ((*snapshot)->pools.size(), 3u);
}

// --- content routes

struct Asked {
    const char* what;
    std::string server_name;
    std::vector<const char*> protocols;
    int pool;  // -1: none
};

class Routes : public ::testing::TestWithParam<Asked> {};

TEST_P(Routes, MostSpecificWins) {
    ContentRoutes routes;
    ASSERT_TRUE(routes.add("www.example.com", "", 1));
    ASSERT_TRUE(routes.add("www.Example.com", "h2", 2));
    ASSERT_TRUE(routes.add("*.example.com", "", 3));
    ASSERT_TRUE(routes.add("*.example.com", "acme-tls/1", 4));
    ASSERT_TRUE(routes.add("plain", "", 5));
    std::string list;
    for (const std::string protocol : GetParam().protocols)
        list += static_cast<char>(protocol.size()) + protocol;
    const auto bytes = [](const std::string& text) {
        return Bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    };
    ClientHello hello;
    hello.server_name = bytes(GetParam().server_name);
    hello.alpn = bytes(list);
    const auto found = routes.find(hello);
    EXPECT_EQ(found ? int{*found} : -1, GetParam().pool);
}

const std::vector<const char*> kMany(ContentRoutes::kProtocols, "x");
auto many_then(const char* protocol) {
    auto protocols = kMany;
    protocols.push_back(protocol);
    return protocols;
}

INSTANTIATE_TEST_SUITE_P(
    Hellos, Routes,
    ::testing::Values(Asked{"whole_name", "www.example.com", {}, 1},
                      Asked{"in_capitals", "WWW.EXAMPLE.COM", {}, 1},
                      Asked{"protocol_without_a_route", "www.example.com", {"http/1.1"}, 1},
                      Asked{"protocol_with_one", "www.example.com", {"http/1.1", "h2"}, 2},
                      Asked{"whole_name_before_the_pattern", "www.example.com", {"acme-tls/1"}, 1},
                      Asked{"pattern", "img.example.com", {"h2"}, 3},
                      Asked{"pattern_with_protocol", "img.example.com", {"acme-tls/1"}, 4},
                      Asked{"one_label_only", "a.img.example.com", {}, -1},
                      Asked{"not_none", "example.com", {}, -1},
                      Asked{"one_that_is_empty", ".example.com", {}, 3}, Asked{"no_dot", "plain", {}, 5},
                      Asked{"unknown", "www.example.org", {"h2"}, -1}, Asked{"no_name", "", {"h2"}, -1},
                      Asked{"longer_than_names_are", std::string(300, 'a'), {}, -1},
                      Asked{"a_nul_is_no_protocol", std::string("www.example.com\0h2", 18), {}, -1},
                      Asked{"protocols_are_bounded", "www.example.com", many_then("h2"), 1}),
    [](const auto& test) { return test.param.what; });

struct Broken {
    const char* name;
    void (*breaks)(link::Snapshot&);
};
class SnapshotRefuses : public ::testing::TestWithParam<Broken> {};

TEST_P(SnapshotRefuses, WithAReason) {
    auto m = valid_message();
    GetParam().breaks(m);
    const auto built = Snapshot::build(m);
    ASSERT_FALSE(built);
    EXPECT_FALSE(built.error().message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Messages, SnapshotRefuses,
    ::testing::Values(
        Broken{"no_current_cookie", [](auto& m) { m.mutable_cookie_keys(0)->set_current(false); }},
        Broken{"cookie_size", [](auto& m) { m.mutable_cookie_keys(0)->set_key("short"); }},
        Broken{"cookie_id", [](auto& m) { m.mutable_cookie_keys(0)->set_key_id(2); }},
        Broken{"name_key_size", [](auto& m) { m.mutable_name_keys(0)->set_key("x"); }},
        Broken{"name_key_twice", [](auto& m) { m.mutable_name_keys(0)->set_generation(2); }},
        Broken{"name_key_generation", [](auto& m) { m.mutable_name_keys(0)->set_generation(256); }},
        Broken{"blade_id", [](auto& m) { m.mutable_blades(0)->set_id(4096); }},
        Broken{"blade_twice", [](auto& m) { m.mutable_blades(0)->set_id(2); }},
        Broken{"blade_address", [](auto& m) { m.mutable_blades(0)->set_address("abc"); }},
        Broken{"service_port", [](auto& m) { m.mutable_services(0)->set_port(65536); }},
        Broken{"service_blade", [](auto& m) { m.mutable_services(0)->add_blade_ids(77); }},
        Broken{"hello_limit", [](auto& m) { m.mutable_services(0)->set_hello_limit(65537); }},
        Broken{"route_blade", [](auto& m) { add_route(m, "a.example", "", 77); }},
        Broken{"route_twice",
               [](auto& m) {
                   add_route(m, "a.example", "h2", 1);
                   add_route(m, "A.example", "h2", 2);
               }},
        Broken{"route_without_name", [](auto& m) { add_route(m, "", "h2", 1); }},
        Broken{"route_with_a_long_name", [](auto& m) { add_route(m, std::string(254, 'a'), "", 1); }},
        Broken{"route_with_a_long_protocol", [](auto& m) { add_route(m, "a", std::string(256, 'a'), 1); }},
        Broken{"ticket_key_size", [](auto& m) { m.add_ticket_keys()->set_blade(1); }},
        Broken{"ticket_key_blade",
               [](auto& m) {
                   m.add_ticket_keys()->set_name(kKeyA);
                   m.mutable_ticket_keys(0)->set_blade(77);
               }},
        Broken{"ticket_key_twice",
               [](auto& m) {
                   m.add_ticket_keys()->set_name(kKeyA);
                   m.mutable_ticket_keys(0)->set_blade(1);
                   *m.add_ticket_keys() = m.ticket_keys(0);
               }},
        Broken{"vip_twice", [](auto& m) { *m.add_services() = m.services(0); }}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace keyrail
