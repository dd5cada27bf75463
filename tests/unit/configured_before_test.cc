// SPDX-License-Identifier: Apache-2.0
// Which services and repositories there have been.
#include "control/daemon/moves/configured_before.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

constexpr uint64_t kThenMs = 1'700'000'000'000;

std::vector<ServiceConfig> services_named(const std::vector<std::string>& names) {
    std::vector<ServiceConfig> made;
    for (const std::string& name : names) made.emplace_back().name = name;
    return made;
}

TEST(ConfiguredBefore, AServiceThatWasRemovedIsKnownAsLongAsItsSessionsLive) {
    ConfiguredBefore before;
    before.services(services_named({"www", "mail"}), kThenMs);
    EXPECT_FALSE(before.left_ms("mail")) << "it is configured";
    EXPECT_FALSE(before.left_ms("mial")) << "there has been none";
    before.services(services_named({"www", "post"}), kThenMs + 1);  // removed, or renamed
    EXPECT_EQ(before.left_ms("mail"), kThenMs + 1);
    before.services(services_named({"www"}), kThenMs + ConfiguredBefore::kForMs + 1);
    EXPECT_EQ(before.left_ms("mail"), kThenMs + 1) << "since when does not change";
    EXPECT_TRUE(before.left_ms("post"));
    before.services(services_named({"www"}), kThenMs + ConfiguredBefore::kForMs + 2);
    EXPECT_FALSE(before.left_ms("mail"));
}

TEST(ConfiguredBefore, AServiceThatIsThereAgainIsTheSame) {
    ConfiguredBefore before;
    before.services(services_named({"www", "mail"}), kThenMs);
    before.services(services_named({"www"}), kThenMs);
    before.services(services_named({"www", "mail"}), kThenMs);
    EXPECT_FALSE(before.left_ms("mail"));
}

TEST(ConfiguredBefore, ARepositoryCountsWhileItIsInUse) {
    ConfiguredBefore before;
    EXPECT_FALSE(before.repository("lmdb", {"here"})) << "nobody knows what it has";
    EXPECT_FALSE(before.repository("lmdb", {"here"})) << "it is not emptied yet";
    before.emptied("lmdb", {"here"});
    EXPECT_TRUE(before.repository("lmdb", {"here"}));
    EXPECT_FALSE(before.repository("redis", {"here"})) << "another one";
    EXPECT_FALSE(before.repository("lmdb", {})) << "out of use";
    EXPECT_FALSE(before.repository("lmdb", {"here"}));
}

TEST(ConfiguredBefore, AClusterIsKnownByAnyOfItsNodes) {
    ConfiguredBefore before;
    before.emptied("redis", {"a", "b"});
    EXPECT_TRUE(before.repository("redis", {"b", "c"}));
    EXPECT_TRUE(before.repository("redis", {"c"}));
    EXPECT_FALSE(before.repository("redis", {"a"})) << "it was not named";
}

TEST(ConfiguredBefore, OutlivesKeyraild) {
    const testing::TempDirectory directory;
    const auto file = directory.path() / "configured.json";
    {
        ConfiguredBefore before(file);
        ASSERT_TRUE(before.load()) << "the first start";
        before.services(services_named({"www", "mail", "old"}), kThenMs);
        before.services(services_named({"www", "mail"}), kThenMs + 5);
        before.emptied("lmdb", {"here"});
        ASSERT_TRUE(before.save());
    }
    ConfiguredBefore before(file);
    ASSERT_TRUE(before.load());
    EXPECT_EQ(before.left_ms("old"), kThenMs + 5);
    EXPECT_TRUE(before.repository("lmdb", {"here"}));
    before.services(services_named({"www"}), kThenMs + 7);
    EXPECT_EQ(before.left_ms("mail"), kThenMs + 7) << "removed while nobody ran";
}

TEST(ConfiguredBefore, IsBounded) {
    ConfiguredBefore before;
    before.services(services_named({"0"}), kThenMs);
    std::vector<std::string> names;
    for (uint64_t i = 1; i < ConfiguredBefore::kMaxLeft + 1; i++) names.push_back(std::to_string(i));
    before.services(services_named(names), kThenMs + 1);
    EXPECT_TRUE(before.left_ms("0"));
    before.services({}, kThenMs + 2);
    EXPECT_FALSE(before.left_ms("0")) << "the first that left";
    EXPECT_TRUE(before.left_ms("1"));
}

TEST(ConfiguredBefore, ADamagedFileIsAnError) {
    const testing::TempDirectory directory;
    const auto file = directory.path() / "configured.json";
    for (const char* text : {"", "[]", "{}", R"({"services":["www"],"left":{}})",
                             R"({"services":[1],"left":{},"repositories":{}})",
                             R"({"services":[],"left":{"old":"1"},"repositories":{}})",
                             R"({"services":[],"left":{},"repositories":{"lmdb":"x"}})"}) {
        std::ofstream(file) << text;
        ConfiguredBefore before(file);
        const auto loaded = before.load();
        ASSERT_FALSE(loaded) << text;
        EXPECT_NE(loaded.error().message.find(file.string() + ": damaged; remove it"), std::string::npos);
    }
}

}  // namespace
}  // namespace keyrail
