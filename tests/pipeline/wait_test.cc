// SPDX-License-Identifier: Apache-2.0
// What a client waits for its session: measured, weighed against a full handshake, and not begun where that
// would be over earlier.
#include <gtest/gtest.h>

#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

constexpr TlsVersion kTls12 = TlsVersion::tls12, kTls13 = TlsVersion::tls13;
const ServiceId kWww = ServiceId::of("www");

enum class Comes : uint8_t { in_one_segment, in_one_burst, in_two_bursts };

class Waiting : public testing::TestWithParam<std::pair<TlsVersion, Comes>> {
  protected:
    Waiting() {
        publish([](link::Service&) {});
    }

    template <typename Change>
    void publish(Change change) {
        link::Snapshot message = snapshot_of(Scene{.up = {2, 3}, .draining = {1}});
        message.mutable_services(0)->set_saving_us(800);
        message.mutable_services(0)->set_saving_tls13_us(500);
        change(*message.mutable_services(0));
        harness.publish(message);
    }
    [[nodiscard]] static TlsVersion version() { return GetParam().first; }
    [[nodiscard]] static size_t index() { return version() == kTls13; }
    void come(uint16_t port, uint64_t round_trip_us = 0, bool early_data = false) {
        Client client(harness, port);
        client.syn();
        harness.advance(round_trip_us);
        const bool large = comes() != Comes::in_one_segment;
        const auto frames = client.hello(client_hello({.max_version = version(),
                                                       .name = Harness::name(1),
                                                       .early_data = early_data,
                                                       .padding = large && version() == kTls12 ? 1400u : 0u,
                                                       .post_quantum = large}));
        ASSERT_EQ(frames.size(), comes() == Comes::in_one_segment ? 1u : 2u);
        if (comes() != Comes::in_two_bursts) return harness.burst(kFront, frames);
        for (const Frame& frame : frames) harness.burst(kFront, {frame});
    }
    [[nodiscard]] static Comes comes() { return GetParam().second; }
    [[nodiscard]] const HoldWaits& waits() {
        return (*harness.context().stats.hold_waits.find(kWww))[index()];
    }
    [[nodiscard]] static uint64_t in(const SharedHistogram& histogram, uint64_t us) {
        return histogram.in(DurationBuckets::of(us));
    }
    void expect_of_lately(uint32_t us) { harness.context().shared.forecast.set(kWww, index(), us); }

    Harness harness{Scene{.up = {2, 3}, .draining = {1}}};
};

TEST_P(Waiting, IsMeasuredHoweverItEnds) {
    const uint64_t saving = version() == kTls12 ? 800 : 500;
    come(43000);
    harness.advance(2000);
    harness.answer(harness.asks().at(0), false);
    come(43001);
    harness.advance(21'000);  // the budget is spent
    ASSERT_EQ(harness.asks().size(), 1u);
    come(43002);
    harness.advance(300);
    harness.answer(harness.asks().at(0), true);
    EXPECT_EQ(in(waits().waited, 300), 1u);
    EXPECT_EQ(in(waits().waited, 2000), 1u);
    EXPECT_EQ(in(waits().waited, 21'000), 1u);
    EXPECT_EQ(waits().waited.sum_us(), 23'300u);
    EXPECT_EQ(in(waits().saving, saving), 3u);
    EXPECT_EQ(waits().longer.get(), 2u);
    const auto& others = (*harness.context().stats.hold_waits.find(kWww))[1 - index()];
    EXPECT_EQ(others.waited.sum_us(), 0u);
}

TEST_P(Waiting, WithoutKnownCostsIsWeighedAgainstNothing) {
    publish([](link::Service& service) {
        service.set_saving_us(0);
        service.set_saving_tls13_us(0);
    });
    come(43000);
    harness.answer(harness.asks().at(0), true);
    EXPECT_EQ(in(waits().waited, 0), 1u);
    EXPECT_EQ(waits().saving.sum_us() + waits().longer.get(), 0u);
}

TEST_P(Waiting, IsNotBegunWhereAFullHandshakeWouldBeOverEarlier) {
    expect_of_lately(20'001);
    come(43000);
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(harness.count(Reason::steer_long_wait), 1u);
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_NE(destination(harness.wire(kBack).at(0)), Harness::blade_mac(1));
    expect_of_lately(20'000);
    come(43001);
    EXPECT_EQ(harness.asks().size(), 1u);
    harness.expect_conserved();
}

TEST_P(Waiting, IsTheOperatorsWordWhereHeSaysSo) {
    publish([](link::Service& service) { service.set_hold_fixed(true); });
    expect_of_lately(1'000'000);
    come(43000, 40'000);
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].budget_us, 20'000u);
}

/// 4 ms are the cookie's clock; so much less is sure.
TEST_P(Waiting, AFullHandshakeInTls12IsARoundTripMore) {
    come(43000, 40'000);
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_GE(asks[0].budget_us, version() == kTls12 ? 20'000u + 36'000 : 20'000u);
    EXPECT_LE(asks[0].budget_us, version() == kTls12 ? 20'000u + 40'000 : 20'000u);
    harness.answer(asks[0], true);
    EXPECT_GE(waits().saving.sum_us(), version() == kTls12 ? 36'800u : 500u);
}

TEST_P(Waiting, EarlyDataIsARoundTripLess) {
    if (version() == kTls12) GTEST_SKIP() << "there is none";
    come(43000, 40'000, true);
    EXPECT_EQ(harness.asks().at(0).budget_us, 20'000u) << "the service does not take it";
    publish([](link::Service& service) { service.set_early_data(true); });
    come(43001, 40'000, true);
    EXPECT_GE(harness.asks().at(0).budget_us, 56'000u);
    come(43002, 40'000, false);
    EXPECT_EQ(harness.asks().at(0).budget_us, 20'000u) << "it has none";
}

TEST_P(Waiting, ARoundTripIsNotBelievedWhateverItIs) {
    come(43000, 40'000'000);
    EXPECT_LE(harness.asks().at(0).budget_us, 20'000u + 50'000);
}

INSTANTIATE_TEST_SUITE_P(
    All, Waiting,
    testing::Values(std::pair(kTls12, Comes::in_one_segment), std::pair(kTls12, Comes::in_one_burst),
                    std::pair(kTls12, Comes::in_two_bursts), std::pair(kTls13, Comes::in_one_segment),
                    std::pair(kTls13, Comes::in_one_burst), std::pair(kTls13, Comes::in_two_bursts)));

}  // namespace
}  // namespace keyrail
