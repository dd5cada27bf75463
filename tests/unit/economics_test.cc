// SPDX-License-Identifier: Apache-2.0
// When a move is worth it, and how long a client may wait for it: from what blades have measured.
#include "control/daemon/moves/economics.h"

#include <gtest/gtest.h>

#include "chassis.pb.h"

namespace keyrail {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

constexpr uint64_t kUs = 1000;
constexpr TlsVersion kTls12 = TlsVersion::tls12, kTls13 = TlsVersion::tls13;

class EconomicsTest : public ::testing::Test {
  protected:
    EconomicsTest() {
        for (const BladeId id : {BladeId{1}, BladeId{2}}) config.blades[id].id = id;
        config.services.resize(2);
        config.services[0].name = "www";
        config.services[0].blades = {1, 2};
        config.services[1].name = "mail";
        config.services[1].blades = {2};
        economics.configure(config);
    }

    /// A blade's sums so far: so many of each kind, each costing this much CPU, and twice that on the clock.
    void sums(uint64_t count, uint64_t full_us, uint64_t resumed_us, uint64_t move_us,
              TlsVersion version = kTls12, const std::string& service = "www") {
        report.Clear();
        for (const auto& [resumed, us] : {std::pair{false, full_us}, {true, resumed_us}}) {
            auto& cost = *report.add_costs();
            cost.set_service(service);
            cost.set_tls_version(number_of(version));
            cost.set_resumed(resumed);
            cost.set_count(count);
            cost.set_cpu_ns(count * us * kUs);
            cost.set_wall_ns(count * us * kUs * 2);
        }
        if (move_us == 0) return;
        report.mutable_moves()->set_count(count);
        report.mutable_moves()->set_cpu_ns(count * move_us * kUs);
        report.mutable_moves()->set_wall_ns(count * move_us * kUs * 2);
    }
    bool heard(BladeId blade = 1) { return economics.health(blade, report, now); }
    microseconds budget(TlsVersion version = kTls12, size_t service = 0) {
        return economics.hold_budget(config.services[service], version);
    }
    [[nodiscard]] const Economics::Handshakes& www12() const { return economics.handshakes().at("www")[0]; }

    Config config;
    Economics economics;
    chassis::Health report;
    Economics::Time now{1h};
};

TEST_F(EconomicsTest, TheDefaultUntilThereIsEnoughToGoBy) {
    EXPECT_EQ(budget(), Economics::kDefaultBudget);
    sums(15, 500, 40, 100);
    EXPECT_FALSE(heard());
    EXPECT_EQ(budget(), Economics::kDefaultBudget);
    EXPECT_EQ(budget(kTls12, 1), Economics::kDefaultBudget);
}

TEST_F(EconomicsTest, WhatAFullHandshakeTakesLonger) {
    sums(16, 540, 40, 100);
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(), 1000us);
    EXPECT_EQ(budget(kTls13), Economics::kDefaultBudget) << "by version";
    EXPECT_EQ(budget(kTls12, 1), Economics::kDefaultBudget) << "by service";
    EXPECT_FALSE(heard()) << "nothing new";
    sums(32, 550, 40, 100);
    EXPECT_FALSE(heard()) << "nearly the same";
}

TEST_F(EconomicsTest, NotWorthWhereAMoveCostsMoreThanItSaves) {
    sums(16, 280, 196, 110, kTls13);
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(kTls13), 0us);
}

TEST_F(EconomicsTest, HowLongAMoveTakesIsNoMatterOfCosts) {
    sums(16, 500, 40, 100);
    report.mutable_moves()->set_wall_ns(16 * 1200 * kUs);
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(), 920us) << "the dataplane knows what its clients wait, and their round trips";
}

TEST_F(EconomicsTest, TheSavingIsKnownWhateverTheBudget) {
    EXPECT_EQ(economics.saving(config.services[0], kTls12), 0us);
    config.services[0].hold_budget = 200ms;
    sums(16, 500, 40, 1000);
    heard();
    EXPECT_EQ(economics.saving(config.services[0], kTls12), 920us);
    EXPECT_EQ(economics.saving(config.services[0], kTls13), 0us);
}

TEST_F(EconomicsTest, TriedAsLongAsNoMoveWasMeasured) {
    sums(16, 280, 196, 0, kTls13);
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(kTls13), 168us);
}

TEST_F(EconomicsTest, TriedAgainAfterAWhile) {
    sums(16, 280, 196, 110, kTls13);
    heard();
    ASSERT_EQ(budget(kTls13), 0us);
    now += Economics::kForget;
    EXPECT_FALSE(heard());
    now += 1s;
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(kTls13), 168us);
}

TEST_F(EconomicsTest, WhatWasWorthItStaysSoUntilItIsClearlyNot) {
    sums(16, 200, 80, 100);
    heard();
    ASSERT_EQ(budget(), 240us);
    report.mutable_moves()->set_count(32);
    report.mutable_moves()->set_cpu_ns(32 * 130 * kUs);
    report.mutable_moves()->set_wall_ns(32 * 130 * kUs);
    EXPECT_FALSE(heard()) << "saves 120, costs 130";
    report.mutable_moves()->set_cpu_ns(32 * 160 * kUs);
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(), 0us);
    report.mutable_moves()->set_cpu_ns(report.moves().cpu_ns() + 1);
    EXPECT_FALSE(heard());
}

TEST_F(EconomicsTest, ADurationInTheConfigurationIsTheOperatorsWord) {
    config.services[0].hold_budget = 200ms;
    sums(16, 280, 196, 1000);
    heard();
    EXPECT_EQ(budget(), 200ms);
}

TEST_F(EconomicsTest, EarlyDataIsWorthAMove) {
    config.services[0].early_data = true;
    for (const TlsVersion version : {kTls12, kTls13}) {
        sums(16, 280, 196, 110, version);
        heard();
    }
    EXPECT_EQ(budget(kTls13), 168us) << "and the round trip, which the dataplane adds";
    EXPECT_EQ(budget(kTls12), 0us);
}

TEST_F(EconomicsTest, AMoveIsCountedByItsHolderAndPaidByBoth) {
    sums(16, 300, 100, 0);
    heard();
    report.Clear();
    report.mutable_moves()->set_count(16);
    report.mutable_moves()->set_cpu_ns(16 * 70 * kUs);
    heard(1);
    EXPECT_DOUBLE_EQ(economics.move().cpu_ns(), 70'000);
    report.mutable_moves()->set_count(0);
    heard(2);
    EXPECT_DOUBLE_EQ(economics.move().cpu_ns(), 140'000);
    EXPECT_EQ(economics.moves_measured(), 16u);
}

TEST_F(EconomicsTest, SumsThatBeginAnewAreNotTakenForLess) {
    sums(100, 500, 40, 100);
    heard();
    EXPECT_EQ(www12().full_count, 100u);
    sums(3, 500, 40, 100);  // the agent made a new store
    heard();
    EXPECT_EQ(www12().full_count, 103u);
    heard(2);
    EXPECT_EQ(www12().full_count, 106u) << "each blade has its own";
}

TEST_F(EconomicsTest, RecentCostsCount) {
    sums(1'000'000, 500, 40, 0);
    heard();
    for (uint64_t more = 1; more <= 10; more++) {  // another certificate
        report.mutable_costs(0)->set_count(1'000'000 + more * 4096);
        report.mutable_costs(0)->set_cpu_ns((1'000'000 * 500 + more * 4096 * 100) * kUs);
        heard();
    }
    EXPECT_NEAR(www12().full.cpu_ns(), 100'000, 5'000);
}

TEST_F(EconomicsTest, SavedCpu) {
    sums(100, 500, 40, 100);
    heard();
    EXPECT_NEAR(www12().saved_s, 100 * 460e-6, 1e-9);
    heard();
    EXPECT_NEAR(www12().saved_s, 100 * 460e-6, 1e-9) << "once";
}

TEST_F(EconomicsTest, AServerThatHidesItsServiceHasTheOnlyOneOfItsBlade) {
    sums(16, 540, 40, 0, kTls12, "");
    heard(2);
    EXPECT_EQ(www12().full_count, 0u) << "blade 2 has two services";
    heard(1);
    EXPECT_EQ(www12().full_count, 16u);
}

TEST_F(EconomicsTest, ServicesThatAreNotConfiguredAreNotKept) {
    sums(16, 540, 40, 0, kTls12, "ftp");
    EXPECT_FALSE(heard());
    EXPECT_FALSE(economics.handshakes().contains("ftp"));
    sums(16, 540, 40, 0);
    heard();
    config.services.erase(config.services.begin());
    economics.configure(config);
    EXPECT_FALSE(economics.handshakes().contains("www"));
    EXPECT_FALSE(heard());
}

TEST_F(EconomicsTest, NonsenseFromABladeIsHarmless) {
    sums(16, 40, 500, 0);  // resumed handshakes that cost more
    EXPECT_TRUE(heard());
    EXPECT_EQ(budget(), 0us);
    EXPECT_EQ(www12().saved_s, 0);
    report.mutable_costs(0)->set_cpu_ns(UINT64_MAX);
    report.mutable_costs(0)->set_wall_ns(UINT64_MAX);
    report.mutable_costs(0)->set_count(17);
    heard();
    EXPECT_LE(budget(), Economics::kMaxBudget);
}

}  // namespace
}  // namespace keyrail
