// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of checks and of the operator's wishes: who takes clients of which service, and how
// many.
#include <gmock/gmock.h>

#include "control/daemon/blades/wishes.h"
#include "tests/support/blades_bench.h"

namespace keyrail {
namespace {

using test::BladesTest;
using test::kNow;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Health = CheckVerdict::Health;

class CheckedBladesTest : public BladesTest {
  protected:
    CheckedBladesTest() {
        for (const BladeId id : {BladeId{1}, BladeId{2}}) {
            blades.connected(id);
            report(id, true, true);
        }
    }
    bool check(BladeId id, Health health, const char* service = "www", uint32_t share = 100) {
        return blades.checked(id, service,
                              CheckVerdict{health, "check of 198.51.100.1:443: HTTP/1.1 500", share});
    }
    link::Snapshot published(const Wishes* wishes = nullptr) {
        return make_snapshot(config, *Secrets::create(), blades, economics, wishes);
    }
};

TEST_F(CheckedBladesTest, OneThatFailsGetsNobodyOfThatServiceAlone) {
    EXPECT_TRUE(check(1, Health::down));
    const auto snapshot = published();
    EXPECT_THAT(snapshot.services(0).blade_ids(), ElementsAre(2)) << "not even whose sessions it has";
    EXPECT_THAT(snapshot.services(1).blade_ids(), ElementsAre(1, 2));
    EXPECT_EQ(snapshot.services(0).flow_blades(), 2u) << "it may have flows";
    EXPECT_EQ(intake(1), BladeIntake::open) << "it serves mail";
    EXPECT_FALSE(snapshot.blades(0).gone()) << "its flows live";
    EXPECT_THAT(blades.find(1)->faults(), ElementsAre("check of 198.51.100.1:443: HTTP/1.1 500"));
    EXPECT_TRUE(check(1, Health::down, "mail"));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_THAT(blades.find(1)->why_none(), HasSubstr("HTTP/1.1 500"));
    EXPECT_FALSE(check(1, Health::down)) << "nothing new";
    EXPECT_TRUE(check(1, Health::up));
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
}

TEST_F(CheckedBladesTest, WhereAllFailTheyAreBetterThanNobody) {
    check(1, Health::down);
    check(2, Health::down);
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_EQ(intake(1), BladeIntake::open);
}

TEST_F(CheckedBladesTest, WhereTooFewAreHealthyChecksTakeNobodyOut) {
    config.services[0].pool = "web";
    config.checks["web"].fail_open = 51;
    blades.configure(config, kNow);
    check(2, Health::up);
    EXPECT_THAT(blades.fail_open(), IsEmpty());
    check(1, Health::down);
    EXPECT_THAT(blades.fail_open(), ElementsAre("www"));
    EXPECT_THAT(published().services(0).blade_ids(), ElementsAre(1, 2));
    EXPECT_THAT(blades.find(1)->faults(), ElementsAre(HasSubstr("it gets clients all the same")));
    check(1, Health::up);
    EXPECT_THAT(blades.fail_open(), IsEmpty());
}

TEST_F(CheckedBladesTest, WhereTheAgentIsSilentTheyDecideAlone) {
    report(1, false, false);
    EXPECT_EQ(intake(1), BladeIntake::none);
    check(1, Health::up);
    EXPECT_EQ(intake(1), BladeIntake::none) << "its agent speaks: both must be for it";
    EXPECT_TRUE(blades.mute(1, true));
    EXPECT_EQ(intake(1), BladeIntake::open);
    EXPECT_THAT(blades.find(1)->faults(), ElementsAre(HasSubstr("the checks decide alone")));
    check(1, Health::down);
    EXPECT_EQ(intake(1), BladeIntake::none);
    check(1, Health::up);
    EXPECT_TRUE(blades.mute(1, false));
    EXPECT_EQ(intake(1), BladeIntake::none);
}

TEST_F(CheckedBladesTest, SharesAreWeights) {
    EXPECT_THAT(published().services(0).weights(), IsEmpty());
    check(1, Health::up, "www", 30);
    EXPECT_THAT(published().services(0).weights(), ElementsAre(30, 100));
    EXPECT_THAT(published().services(1).weights(), IsEmpty());
    EXPECT_TRUE(blades.wished(1, {50, false}));
    EXPECT_FALSE(blades.wished(1, {50, false}));
    EXPECT_THAT(published().services(0).weights(), ElementsAre(15, 100));
    EXPECT_THAT(published().services(1).weights(), ElementsAre(50, 100));
}

TEST_F(CheckedBladesTest, ADisabledBladeTakesNothingNew) {
    EXPECT_TRUE(blades.wished(1, {100, true}));
    EXPECT_EQ(intake(1), BladeIntake::none);
    EXPECT_EQ(blades.find(1)->why_none(), "disabled by the operator");
    EXPECT_FALSE(published().blades(0).gone());
    EXPECT_EQ(intake(2), BladeIntake::open);
}

TEST_F(CheckedBladesTest, WishesAreKept) {
    Wishes wishes(dir / "operator.json");
    ASSERT_TRUE(wishes.set(1, {40, true}));
    ASSERT_TRUE(wishes.set(2, {40, false}));
    ASSERT_TRUE(wishes.set(2, {}));
    ASSERT_TRUE(wishes.set_service("mail", true));
    Wishes later(dir / "operator.json");
    ASSERT_TRUE(later.load());
    EXPECT_EQ(later.of(1), (BladeWish{40, true}));
    EXPECT_EQ(later.of(2), BladeWish{});
    EXPECT_TRUE(later.disabled("mail"));
    EXPECT_THAT(published(&later).services(1).blade_ids(), IsEmpty());
    EXPECT_THAT(published(&later).services(0).blade_ids(), ElementsAre(1, 2));
    ASSERT_TRUE(later.set_service("mail", false));
    EXPECT_FALSE(later.disabled("mail"));
}

}  // namespace
}  // namespace keyrail
