// SPDX-License-Identifier: Apache-2.0
// What the next client must expect to wait, from what others have waited.
#include "dataplane/link/forecaster.h"

#include <gtest/gtest.h>

#include "dataplane/core/snapshot.h"
#include "link.pb.h"

namespace keyrail {
namespace {

const ServiceId kWww = ServiceId::of("www");

class ForecasterTest : public ::testing::Test {
  protected:
    ForecasterTest() {
        link::Snapshot message;
        auto* cookie = message.add_cookie_keys();
        cookie->set_key(std::string(16, 'c'));
        cookie->set_current(true);
        auto* service = message.add_services();
        service->set_name("www");
        service->set_port(443);
        service->add_addresses(std::string({10, 0, 0, 1}));
        snapshot = std::move(*Snapshot::build(message));
    }
    void waited(uint64_t us, int times, size_t worker = 0, size_t version = 0) {
        for (int i = 0; i < times; i++) (*stats.at(worker)->hold_waits.make(kWww))[version].waited.add(us);
    }
    void seconds(int count) {
        const std::array<const WorkerStats*, 2> workers = {stats[0].get(), stats[1].get()};
        for (int i = 0; i < count; i++) forecaster.tick(*snapshot, workers, forecast);
    }
    [[nodiscard]] uint32_t expected(TlsVersion version = TlsVersion::tls12) const {
        return forecast.expected_us(kWww, version);
    }

    std::unique_ptr<Snapshot> snapshot;
    std::array<std::unique_ptr<WorkerStats>, 2> stats = {std::make_unique<WorkerStats>(),
                                                         std::make_unique<WorkerStats>()};
    Forecaster forecaster;
    HoldForecast forecast;
};

TEST_F(ForecasterTest, NothingIsExpectedOfFew) {
    seconds(1);
    EXPECT_EQ(expected(), 0u);
    waited(500, 3);
    seconds(1);
    EXPECT_EQ(expected(), 0u);
    waited(500, 5, 1);
    seconds(1);
    EXPECT_NEAR(expected(), 500, 32);
    EXPECT_EQ(expected(TlsVersion::tls13), 0u) << "by version";
    EXPECT_EQ(forecast.expected_us(ServiceId::of("mail"), TlsVersion::tls12), 0u);
}

TEST_F(ForecasterTest, NineOfTen) {
    waited(100, 85, 0);
    waited(9000, 15, 1);
    seconds(1);
    EXPECT_NEAR(expected(), 9000, 600);
    waited(100, 200);
    seconds(1);
    EXPECT_NEAR(expected(), 100, 8);
}

/// All that it ever waited would count as of this second.
TEST_F(ForecasterTest, AServiceThatComesBackIsNotCountedAnew) {
    waited(9000, 1000);
    seconds(1);
    auto with = std::move(snapshot);
    link::Snapshot without;
    auto* cookie = without.add_cookie_keys();
    cookie->set_key(std::string(16, 'c'));
    cookie->set_current(true);
    snapshot = std::move(*Snapshot::build(without));
    seconds(120);
    snapshot = std::move(with);
    seconds(1);
    EXPECT_EQ(expected(), 0u) << "the holds are two minutes old";
    waited(100, 20);
    seconds(1);
    EXPECT_NEAR(expected(), 100, 8);
}

TEST_F(ForecasterTest, ThePastIsForgotten) {
    waited(9000, 1000);
    seconds(1);
    ASSERT_NEAR(expected(), 9000, 600);
    seconds(30);
    waited(100, 2000);
    seconds(1);
    EXPECT_NEAR(expected(), 100, 8);
    seconds(120);
    EXPECT_EQ(expected(), 0u) << "nothing for two minutes: nobody knows";
}

}  // namespace
}  // namespace keyrail
