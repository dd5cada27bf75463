// SPDX-License-Identifier: Apache-2.0
// Revisions on the disk: what a restart comes up on, whatever was under way; and what is different between
// two configurations.
#include "control/daemon/history/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "control/daemon/config/diff.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HistoryTest : public ::testing::Test {
  protected:
    History opened() {
        History history(directory.path() / "history");
        EXPECT_TRUE(history.load());
        return history;
    }
    static Revision revision(const std::string& message) {
        Revision one;
        one.actor = "alice";
        one.from = "apply";
        one.message = message;
        one.file = "/etc/keyrail/keyraild.toml";
        return one;
    }
    testing::TempDirectory directory;
};

TEST_F(HistoryTest, KeepsWhatWasApplied) {
    {
        History history = opened();
        EXPECT_EQ(history.current(), 0u);
        EXPECT_EQ(*history.begin(revision("first"), "a = 1\n", std::nullopt), 1u);
        EXPECT_EQ(*history.begin(revision("second"), "a = 2\n", std::nullopt), 2u);
    }
    const History history = opened();
    EXPECT_EQ(history.current(), 2u);
    EXPECT_EQ(*history.text(1), "a = 1\n");
    EXPECT_EQ(*history.text(2), "a = 2\n");
    EXPECT_EQ(history.revisions().at(1).message, "first");
    EXPECT_EQ(history.revisions().at(2).actor, "alice");
    EXPECT_FALSE(history.text(3));
}

/// As after kill -9, or a power cut: nothing was said to the one that is gone.
TEST_F(HistoryTest, WhatNobodyConfirmedIsNotWhatARestartComesUpOn) {
    {
        History history = opened();
        (void)history.begin(revision("good"), "a = 1\n", std::nullopt);
        EXPECT_EQ(*history.begin(revision("on trial"), "a = 2\n", 1), 2u);
        EXPECT_EQ(history.in_force(), 2u);
        EXPECT_EQ(history.current(), 1u);
    }
    const History history = opened();
    EXPECT_EQ(history.rolled_back_at_start(), 2u);
    EXPECT_EQ(history.in_force(), 1u);
    EXPECT_FALSE(history.pending());
    EXPECT_EQ(history.revisions().at(2).result, "rolled back");
    EXPECT_THAT(history.revisions().at(2).why, HasSubstr("before it was confirmed"));
    EXPECT_EQ(opened().rolled_back_at_start(), 0u) << "said once";
}

TEST_F(HistoryTest, ConfirmedAndRolledBack) {
    History history = opened();
    (void)history.begin(revision("1"), "a = 1\n", 1);
    ASSERT_TRUE(history.confirm());
    EXPECT_EQ(history.current(), 1u);
    (void)history.begin(revision("2"), "a = 2\n", 1);
    ASSERT_TRUE(history.roll_back("it was not confirmed in time"));
    EXPECT_EQ(history.current(), 1u);
    History again = opened();
    EXPECT_EQ(again.revisions().at(1).result, "confirmed");
    EXPECT_EQ(again.revisions().at(2).why, "it was not confirmed in time");
    EXPECT_EQ(*again.begin(revision("3"), "a = 3\n", std::nullopt), 3u) << "numbers are not used twice";
}

TEST_F(HistoryTest, KeepsTheLatestFifty) {
    History history = opened();
    for (int i = 1; i <= 60; i++)
        (void)history.begin(revision("x"), fmt::format("a = {}\n", i), std::nullopt);
    EXPECT_EQ(history.revisions().size(), History::kKept);
    EXPECT_EQ(history.revisions().begin()->first, 11u);
    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "history"))
        files += entry.is_regular_file();
    EXPECT_EQ(files, 2 * History::kKept + 1);
}

TEST_F(HistoryTest, WhatCannotBeKeptIsNotBegun) {
    History history = opened();
    (void)history.begin(revision("1"), "a = 1\n", std::nullopt);
    EXPECT_FALSE(history.begin(revision("2"), std::string(History::kMaxText + 1, 'x'), std::nullopt));
    std::filesystem::create_directory(directory.path() / "history/state.json.new");  // in the way
    EXPECT_FALSE(history.begin(revision("2"), "a = 2\n", std::nullopt));
    EXPECT_EQ(history.current(), 1u);
    EXPECT_FALSE(std::filesystem::exists(directory.path() / "history/2.toml"));
    EXPECT_FALSE(std::filesystem::exists(directory.path() / "history/2.json"));
}

TEST_F(HistoryTest, SaysWhetherAFileHasChanged) {
    {
        History history = opened();
        EXPECT_FALSE(history.has_seen("/etc/a.toml", "12"));
        EXPECT_TRUE(history.see("/etc/../etc/a.toml", "12"));
    }
    EXPECT_TRUE(opened().has_seen("/etc/a.toml", "12"));
    EXPECT_FALSE(opened().has_seen("/etc/a.toml", "13"));
    EXPECT_FALSE(opened().has_seen("/etc/b.toml", "12"));
}

TEST_F(HistoryTest, DamageIsSaid) {
    std::filesystem::create_directories(directory.path() / "history");
    std::ofstream(directory.path() / "history/state.json") << "{\"current\": ";
    History history(directory.path() / "history");
    const auto loaded = history.load();
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().message, HasSubstr("damaged"));
}

TEST(ConfigDiff, ByObjectAndKey) {
    const std::string before =
        "[chassis]\nname = \"a\"\n[[pool]]\nname = \"web\"\nblades = [1, 2]\n"
        "[[service]]\nname = \"www\"\nidle_timeout = \"120min\"\nport = 443\n"
        "[[service.route]]\nsni = \"x.test\"\npool = \"web\"\n"
        "[[service]]\nname = \"old\"\nport = 80\n";
    const std::string after =
        "[[service]]\nport = 8443\nname = \"www\"\nidle_timeout = \"2h\"\nping = false\n"
        "[[service.route]]\nsni = \"x.test\"\npool = \"img\"\n"
        "[[pool]]\nblades = [2, 1]\nname = \"web\"\n[[pool]]\nname = \"img\"\n[chassis]\nname = \"a\"\n";
    EXPECT_THAT(*diff_configs(before, after),
                ElementsAre(ConfigChange{"[[pool]] img", "", "", "name = \"img\""},
                            ConfigChange{"[[service]] old", "", "name = \"old\", port = 80", ""},
                            ConfigChange{"[[service]] www", "ping", "", "false"},
                            ConfigChange{"[[service]] www", "port", "443", "8443"},
                            ConfigChange{"[[service]] www route x.test", "pool", "\"web\"", "\"img\""}));
    EXPECT_THAT(*diff_configs(before, before), IsEmpty());
    EXPECT_FALSE(diff_configs(before, "[["));
}

}  // namespace
}  // namespace keyrail
