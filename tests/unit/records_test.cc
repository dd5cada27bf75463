// SPDX-License-Identifier: Apache-2.0
// Sessions on the wire, between agents.
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

ServedServices served_www() {
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
        to_message(record, served_www(), 150'000, message);
        const auto done = from_message(message, served_www(), 150'000, back);
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
    to_message(record, served_www(), 150'000, message);
    for (const uint64_t now : {110'000, 138'000, 162'000, 209'000}) {
        ASSERT_TRUE(from_message(message, served_www(), now, back)) << now;
        EXPECT_EQ(now - back.created_ms, 50'000U) << "it is 50 s old, whatever the clocks say";
        EXPECT_EQ(back.expires_ms - now, 50'000U);
    }
    for (const uint64_t now : {80'000, 220'000}) {
        const auto refused = from_message(message, served_www(), now, back);
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message.find("clocks"), std::string::npos);
    }
    to_message(record, served_www(), 0, message);
    ASSERT_TRUE(from_message(message, served_www(), 199'000, back))
        << "a record that was kept is as old as it says";
    EXPECT_EQ(back.created_ms, 100'000U);
}

TEST(Records, WhatCannotBeIsRefused) {
    const auto refusal = [](const std::function<void(chassis::Record&)>& change) -> std::string {
        SessionRecord record, back;
        fill_dated(record);
        chassis::Record message;
        to_message(record, served_www(), 150'000, message);
        change(message);
        const auto done = from_message(message, served_www(), 150'000, back);
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

}  // namespace
}  // namespace keyrail
