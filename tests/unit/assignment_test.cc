// SPDX-License-Identifier: Apache-2.0
// What keyraild assigns to a blade: taken over whole, or refused.
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
    EXPECT_FALSE(unknown.service.known());
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

}  // namespace
}  // namespace keyrail
