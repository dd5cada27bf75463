// SPDX-License-Identifier: Apache-2.0
// Events: what is said at once, what later, and with which fields.
#include "control/daemon/events/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "control/daemon/events/journal.h"
#include "control/daemon/events/kinds.h"

namespace keyrail {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::StartsWith;

class EventsTest : public ::testing::Test {
  protected:
    void happens(std::string_view kind, std::string_view actor, Events::About about = {}) {
        events.add(kind, actor, "it happened", std::move(about), now);
    }
    void wait(int count) {
        for (int i = 0; i < count; i++) events.tick(now += seconds(1));
    }
    std::vector<std::string> said() {
        std::vector<std::string> texts;
        for (const Event& event : events.since(seen)) texts.push_back(event.kind + ": " + event.text);
        seen = events.last();
        return texts;
    }
    Events events;
    Events::Clock::time_point now{seconds(1000)};
    uint64_t seen = 0;
};

TEST_F(EventsTest, WhatKeyraildNoticesIsSaidOnceAMinute) {
    for (int i = 0; i < 160; i++) {
        happens("blade.not_let_in", Events::kNobody, {3});
        if (i % 16 == 15) wait(1);
    }
    EXPECT_THAT(said(), ElementsAre("blade.not_let_in: it happened"));
    wait(49);
    EXPECT_TRUE(said().empty());
    wait(2);
    EXPECT_THAT(said(), ElementsAre("blade.not_let_in: it happened (159 times)"));
    EXPECT_EQ(events.since(0).back().times, 159u);
    happens("blade.not_let_in", Events::kNobody, {3});
    EXPECT_TRUE(said().empty()) << "a minute from the last time";
    wait(61);
    EXPECT_THAT(said(), ElementsAre("blade.not_let_in: it happened"));
    wait(120);
    happens("blade.not_let_in", Events::kNobody, {3});
    EXPECT_EQ(said().size(), 1u) << "it was quiet for a minute";
}

TEST_F(EventsTest, EachThingIsLimitedByItself) {
    for (const uint16_t blade : {1, 2, 3}) happens("blade.not_let_in", Events::kNobody, {BladeId(blade)});
    happens("key.stuck", Events::kNobody);
    EXPECT_EQ(said().size(), 4u);
}

/// Up, down, up, down: who looks at the events must not take a blade for up that is down.
TEST_F(EventsTest, StatesMayChangeToAndFro) {
    for (int i = 0; i < 10; i++) {
        happens("blade.down", Events::kNobody, {1});
        happens("blade.up", Events::kNobody, {1});
    }
    EXPECT_EQ(said().size(), 8u);
}

TEST_F(EventsTest, WhatSomebodyDidIsNeverLeftOut) {
    for (int i = 0; i < 100; i++) happens("config.applied", "root");
    EXPECT_EQ(said().size(), 100u);
}

TEST_F(EventsTest, TheJournalHasFields) {
    happens("blade.drain.started", "alice", {3, "www"});
    const auto fields = journal_fields(events.since(0).back());
    for (const char* field :
         {"MESSAGE=blade.drain.started: it happened (by alice)", "PRIORITY=5",
          "KEYRAIL_EVENT=blade.drain.started", "KEYRAIL_ACTOR=alice", "KEYRAIL_BLADE=3",
          "KEYRAIL_SERVICE=www", "MESSAGE_ID=fe318b2ca20c45618ef7c3eef15a0e2e", "KEYRAIL_TIMES=1"})
        EXPECT_THAT(fields, Contains(field));
    happens("config.applied", "root");
    EXPECT_THAT(journal_fields(events.since(0).back()), Not(Contains(StartsWith("KEYRAIL_BLADE="))));
}

/// What `journalctl -x` explains: each kind, and nothing else.
TEST(EventKinds, AreInTheCatalogUnderTheirIds) {
    std::ifstream in(KEYRAIL_SOURCE "/hw/system/keyrail.catalog");
    const std::string catalog{std::istreambuf_iterator<char>(in), {}};
    std::set<std::string> ids, names;
    const std::regex entry("(^|\n)-- ([0-9a-f]{32})\nSubject: [^\n]+\nDefined-By: Keyrail\n");
    for (auto found = std::sregex_iterator(catalog.begin(), catalog.end(), entry);
         found != std::sregex_iterator(); ++found)
        EXPECT_TRUE(ids.insert((*found)[2]).second) << "twice: " << (*found)[2];
    for (const EventKind& kind : kEventKinds) {
        EXPECT_TRUE(names.insert(std::string(kind.name)).second) << kind.name;
        EXPECT_EQ(ids.erase(std::string(kind.id)), 1u) << kind.name << " is not in the catalog";
    }
    EXPECT_TRUE(ids.empty()) << *ids.begin() << " is no kind's";
}

}  // namespace
}  // namespace keyrail
