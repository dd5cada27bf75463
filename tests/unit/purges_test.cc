// SPDX-License-Identifier: Apache-2.0
// Which purges a blade has yet to hear of, and what stops at a fence.
#include "control/daemon/moves/purges.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

constexpr uint64_t kNowMs = 1'700'000'000'000;
constexpr SessionName kFirst{1}, kSecond{2};
constexpr ServiceId kMail = ServiceId::of("mail"), kWeb = ServiceId::of("web");

chassis::Purge purge_of(uint64_t number, const std::string& service = "", const std::string& name = "") {
    chassis::Purge made;
    made.set_number(number);
    made.set_service(service);
    made.set_name(name);
    made.set_all(service.empty() && name.empty());
    return made;
}

TEST(Purged, MeansWhatItSays) {
    const auto all = Purged::from(purge_of(1)), mail = Purged::from(purge_of(1, "mail")),
               one = Purged::from(purge_of(1, "", bytes_of(kFirst)));
    EXPECT_TRUE(all->means(kFirst, {}) && all->means(kSecond, kWeb));
    EXPECT_TRUE(mail->means(kFirst, kMail) && !mail->means(kFirst, kWeb));
    EXPECT_TRUE(mail->means(kFirst, {})) << "nobody knows, so it may be";
    EXPECT_TRUE(one->means(kFirst, kWeb) && !one->means(kSecond, kWeb));
    EXPECT_FALSE(Purged::from(purge_of(1, "", "short")));
}

TEST(Purges, ABladeIsToldUntilItAnswers) {
    Purges purges;
    ASSERT_TRUE(purges.add(purge_of(3, "mail"), kNowMs));
    ASSERT_TRUE(purges.add(purge_of(4, "", bytes_of(kFirst)), kNowMs + 1));
    purges.answered(1, 3);
    ASSERT_EQ(purges.of(1).size(), 1u);
    EXPECT_EQ(purges.of(1)[0].number(), 4u);
    EXPECT_EQ(purges.of(2).size(), 2u);
    EXPECT_FALSE(purges.purging(1, kSecond, kMail));
    EXPECT_TRUE(purges.purging(2, kSecond, kMail));
    purges.answered(1, 4);
    EXPECT_TRUE(purges.of(1).empty());
    EXPECT_FALSE(purges.purging(1, kFirst, kMail));
    ASSERT_TRUE(purges.add(purge_of(5), kNowMs + 2));
    EXPECT_EQ(purges.of(1).size(), 1u);
    EXPECT_TRUE(purges.purging(1, kSecond, kWeb));
}

/// It may come with sessions from before, wherever it was meanwhile.
TEST(Purges, ABladeThatComesLaterIsToldToo) {
    Purges purges;
    ASSERT_TRUE(purges.add(purge_of(3), kNowMs));
    purges.answered(1, 3);
    purges.drop_old(kNowMs + Purges::kForMs);
    EXPECT_EQ(purges.of(7).size(), 1u);
    EXPECT_TRUE(purges.purging(7, kFirst, kMail));
    EXPECT_EQ(purges.last_number(), 3u);
    purges.drop_old(kNowMs + Purges::kForMs + 1);
    EXPECT_TRUE(purges.of(7).empty()) << "no session lives so long";
}

TEST(Purges, OutliveKeyraild) {
    const testing::TempDirectory directory;
    const auto file = directory.path() / "purges.json";
    {
        Purges purges(file);
        ASSERT_TRUE(purges.load()) << "the first start";
        ASSERT_TRUE(purges.add(purge_of(3, "mail"), kNowMs));
        ASSERT_TRUE(purges.add(purge_of(4, "", bytes_of(kFirst)), kNowMs));
        ASSERT_TRUE(purges.add(purge_of(5), kNowMs));
        for (const uint64_t number : {3, 4}) purges.answered(1, number);
        purges.answered(Purges::kRepositories, 5);
        ASSERT_TRUE(purges.save());
        purges.answered(2, 3);  // killed before this is written: told once more
    }
    Purges purges(file);
    ASSERT_TRUE(purges.load());
    EXPECT_EQ(purges.last_number(), 5u);
    ASSERT_EQ(purges.of(1).size(), 1u);
    EXPECT_TRUE(purges.of(1)[0].all());
    ASSERT_EQ(purges.of(2).size(), 3u);
    EXPECT_EQ(purges.of(2)[0].service(), "mail");
    EXPECT_EQ(purges.of(2)[1].name(), bytes_of(kFirst));
    EXPECT_TRUE(purges.purging(2, kSecond, kWeb));
    EXPECT_EQ(purges.of(Purges::kRepositories).size(), 2u);
    purges.drop_old(kNowMs + Purges::kForMs + 1);
    EXPECT_TRUE(purges.of(2).empty()) << "their age is known";
}

TEST(Purges, ADamagedFileIsAnError) {
    const testing::TempDirectory directory;
    const auto file = directory.path() / "purges.json";
    for (const char* text : {"", "[]", "{}", R"({"purges":[{"number":1,"made_ms":1,"answered":[1]}]})",
                             R"({"purges":[{"number":1,"made_ms":1,"all":true}]})",
                             R"({"purges":[{"number":1,"made_ms":1,"answered":[4096],"all":true}]})",
                             R"({"purges":[{"number":1,"made_ms":1,"answered":[1],"name":"00"}]})",
                             R"({"purges":[{"number":1,"made_ms":1,"answered":[1],"service":""}]})",
                             R"({"purges":[{"number":"1","made_ms":1,"answered":[1],"all":true}]})"}) {
        std::ofstream(file) << text;
        Purges purges(file);
        const auto loaded = purges.load();
        ASSERT_FALSE(loaded) << text;
        EXPECT_NE(loaded.error().message.find(file.string() + ": damaged; remove it"), std::string::npos);
    }
}

TEST(Purges, ManyBecomeOneOfEverything) {
    Purges purges;
    for (uint64_t i = 0; i < 2 * Purges::kMax; i++)
        ASSERT_TRUE(purges.add(
            purge_of(i, "", bytes_of(SessionName{static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)})),
            kNowMs));
    EXPECT_LE(purges.of(1).size(), Purges::kMax);
    for (uint64_t i = 0; i < 2 * Purges::kMax; i++)
        EXPECT_TRUE(
            purges.purging(1, SessionName{static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)}, kMail))
            << i;
}

}  // namespace
}  // namespace keyrail
