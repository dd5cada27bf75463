// SPDX-License-Identifier: Apache-2.0
// Which purges a blade has yet to hear of, and what stops at a fence.
#include "control/daemon/moves/purges.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

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
    purges.add(purge_of(3, "mail"), {1, 2});
    purges.add(purge_of(4, "", bytes_of(kFirst)), {1, 2});
    purges.answered(1, 3);
    ASSERT_EQ(purges.of(1).size(), 1u);
    EXPECT_EQ(purges.of(1)[0].number(), 4u);
    EXPECT_EQ(purges.of(2).size(), 2u);
    EXPECT_FALSE(purges.purging(1, kSecond, kMail));
    EXPECT_TRUE(purges.purging(2, kSecond, kMail));
    purges.keep_blades([](BladeId blade) { return blade == 1; });
    EXPECT_TRUE(purges.of(2).empty());
    purges.answered(1, 4);
    EXPECT_TRUE(purges.empty());
}

TEST(Purges, ManyBecomeOneOfEverything) {
    Purges purges;
    for (uint64_t i = 0; i < 2 * Purges::kMax; i++)
        purges.add(
            purge_of(i, "", bytes_of(SessionName{static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)})),
            {1});
    EXPECT_LE(purges.of(1).size(), Purges::kMax);
    for (uint64_t i = 0; i < 2 * Purges::kMax; i++)
        EXPECT_TRUE(
            purges.purging(1, SessionName{static_cast<uint8_t>(i), static_cast<uint8_t>(i >> 8)}, kMail))
            << i;
}

}  // namespace
}  // namespace keyrail
