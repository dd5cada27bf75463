// SPDX-License-Identifier: Apache-2.0
// Snapshots change while connections are under way: what outlives a burst finds its service and its blade
// again, or learns that they are gone.
#include <gtest/gtest.h>

#include <set>

#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

struct ServiceSpec {
    std::string name, vip;
    std::vector<uint16_t> blades;
};
const ServiceSpec kOld{"old", "203.0.113.1", {1}}, kWww{"www", kVip4, {1, 2}},
    kNew{"new", "203.0.113.2", {3}};

/// The services of a scene replaced by these, in this order.
link::Snapshot snapshot_with(const std::vector<ServiceSpec>& services, const Scene& scene = {}) {
    link::Snapshot message = snapshot_of(scene);
    const link::Service model = message.services(0);
    message.clear_services();
    for (const ServiceSpec& spec : services) {
        link::Service& service = *message.add_services() = model;
        service.set_name(spec.name);
        service.clear_addresses();
        const Address vip = address(spec.vip);
        const bool ipv6 = spec.vip.find(':') != std::string::npos;
        service.add_addresses(std::string(vip.begin() + (ipv6 ? 0 : 12), vip.end()));
        service.mutable_blade_ids()->Assign(spec.blades.begin(), spec.blades.end());
    }
    return message;
}

std::set<MacAddress> macs(const std::vector<uint16_t>& blades) {
    std::set<MacAddress> all;
    for (const uint16_t blade : blades) all.insert(Harness::blade_mac(blade));
    return all;
}

class Reload : public testing::TestWithParam<std::string> {
  protected:
    Harness harness{Scene{.holds = 4}};
    const std::vector<uint8_t> hello = client_hello({.padding = 400, .post_quantum = false});
    Client client{harness, 42000, GetParam()};
    const ServiceSpec www{"www", GetParam(), {1, 2}};

    /// The first part of a hello, which is held.
    void first_part() {
        harness.publish(snapshot_with({kOld, www}));
        client.syn();
        harness.burst(kFront, {client.data(cut(hello, 0, 200))});
        ASSERT_EQ(harness.held(), 1u);
    }
    void second_part() { harness.burst(kFront, {client.data(cut(hello, 200, hello.size()), 200)}); }
    void expect_all_at(const std::vector<uint16_t>& blades, size_t frames) {
        const std::vector<Frame> out = harness.wire(kBack);
        EXPECT_EQ(out.size(), frames);
        std::set<MacAddress> reached;
        for (const Frame& frame : out) reached.insert(destination(frame));
        EXPECT_EQ(reached.size(), 1u) << "one connection, one blade";
        for (const MacAddress& mac : reached) EXPECT_TRUE(macs(blades).contains(mac));
        harness.expect_conserved();
    }
};

TEST_P(Reload, ServicesInAnotherOrder) {
    for (const auto& after : {std::vector{www, kNew}, std::vector{kNew, kOld, www}, std::vector{www}}) {
        SCOPED_TRACE(after.size());
        first_part();
        harness.publish(snapshot_with(after));
        second_part();
        expect_all_at({1, 2}, 2);
        harness.forget_flows();
    }
}

TEST_P(Reload, AHeldHellosServiceGetsOtherBlades) {
    first_part();
    harness.publish(snapshot_with({{"www", GetParam(), {3}}}));
    second_part();
    expect_all_at({3}, 2);
}

TEST_P(Reload, ItsAddressBelongsToAnotherService) {
    first_part();
    harness.publish(snapshot_with({{"renamed", GetParam(), {3}}, kOld}));
    second_part();
    expect_all_at({3}, 2);
}

TEST_P(Reload, ItsServiceIsGone) {
    first_part();
    harness.publish(snapshot_with({kNew}));
    harness.advance(20'000);  // silence
    EXPECT_EQ(harness.count(Reason::drop_service_gone), 1u);
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

TEST_P(Reload, ItsServiceIsGoneAndOthersNeedItsRoom) {
    first_part();
    harness.publish(snapshot_with({kNew}));
    for (uint16_t port = 43000; port < 43004; port++) {
        Client other(harness, port, kNew.vip);
        other.syn();
        harness.burst(kFront, {other.data(cut(hello, 0, 200))});
    }
    EXPECT_EQ(harness.count(Reason::drop_service_gone), 1u);
    EXPECT_EQ(harness.held(), 4u);
    harness.expect_conserved();
}

TEST_P(Reload, ItsServiceComesBack) {
    first_part();
    harness.publish(snapshot_with({kNew}));
    harness.publish(snapshot_with({kNew, www}));
    second_part();
    expect_all_at({1, 2}, 2);
}

/// A port that its client uses again after the connection's blade has left the service: what that blade
/// serves now may be somebody else's content.
class ReloadThenReused : public Reload {
  protected:
    void connected_to_blade_3() {
        harness.publish(snapshot_with({{"www", GetParam(), {3}}}, scene));
        client.syn();
        harness.burst(kFront, {client.data(hello)});
        expect_all_at({3}, 1);
        harness.publish(snapshot_with({kNew, www}, scene));
    }
    void connects_again() {
        Client again(harness, 42000, GetParam(), 77'000'000);
        again.syn();
        harness.burst(kFront, {again.data(hello)});
        expect_all_at({1, 2}, 1);
    }
    [[nodiscard]] Frame segment(uint8_t flags, uint32_t seq) const {
        TcpSegment s = client.segment({}, 0, flags);
        s.seq = seq;
        if (!(flags & kAck)) s.ack = 0;
        return s.frame();
    }
    /// With early binding the blade answers the SYN.
    void connected_early() {
        harness.publish(snapshot_with({{"www", GetParam(), {3}}}, scene));
        harness.burst(kFront, {segment(kSyn, 0)});
        harness.burst(kFront, {segment(kAck, 1)});
        expect_all_at({3}, 2);
        harness.publish(snapshot_with({kNew, www}, scene));
    }
    Scene scene;
};

TEST_P(ReloadThenReused, Ended) {
    connected_to_blade_3();
    harness.burst(kFront, {client.segment({}, static_cast<uint32_t>(hello.size()), kRst | kAck).frame()});
    expect_all_at({3}, 1);
    connects_again();
}

TEST_P(ReloadThenReused, ForgottenByItsClient) {
    connected_to_blade_3();
    connects_again();
}

TEST_P(ReloadThenReused, ASynAloneTakesNothingFromTheOldOne) {
    connected_to_blade_3();
    Client(harness, 42000, GetParam(), 77'000'000).syn();
    harness.burst(kFront, {client.data({1, 2, 3}, static_cast<uint32_t>(hello.size()))});
    expect_all_at({3}, 1);
}

TEST_P(ReloadThenReused, EarlyBinding) {
    scene.late = false;
    connected_early();
    harness.burst(kFront, {segment(kRst | kAck, 1)});
    expect_all_at({3}, 1);
    harness.burst(kFront, {segment(kSyn, 77'000'000)});
    expect_all_at({1, 2}, 1);
}

/// A hello that waits for its session's move from blade 1 to blade 2.
class ReloadDuringMove : public Reload {
  protected:
    const Scene draining{.up = {2, 3}, .draining = {1}};
    MoveAsk ask{};

    void ask_for_move() {
        harness.publish(snapshot_with({kOld, www}, draining));
        client.syn();
        harness.burst(kFront, {client.data(one_segment_hello_of(1))});
        const auto asks = harness.asks();
        ASSERT_EQ(asks.size(), 1u);
        ask = asks[0];
        EXPECT_EQ(ask.service, ServiceId::of("www"));
        EXPECT_EQ(ask.to, 2);
    }
};

TEST_P(ReloadDuringMove, TheTargetStays) {
    ask_for_move();
    harness.publish(snapshot_with({kNew, www}, draining));
    harness.answer(ask, true);
    expect_all_at({2}, 1);
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
}

TEST_P(ReloadDuringMove, TheTargetLeavesThePool) {
    ask_for_move();
    harness.publish(snapshot_with({kOld, {"www", GetParam(), {3}}}, draining));
    harness.answer(ask, true);
    harness.advance(1);
    expect_all_at({3}, 1);
    EXPECT_EQ(harness.count(Reason::steer_move_failed), 1u);
    EXPECT_TRUE(harness.asks().empty()) << "it has waited once";
}

TEST_P(ReloadDuringMove, TheTargetGoesDownAndTheBudgetIsSpent) {
    ask_for_move();
    harness.publish(
        snapshot_with({kOld, {"www", GetParam(), {1, 2, 3}}}, {.up = {3}, .draining = {1}, .down = {2}}));
    harness.advance(21'000);
    expect_all_at({3}, 1);
    EXPECT_EQ(harness.held(), 0u);
}

TEST_P(ReloadDuringMove, TheServiceIsGone) {
    ask_for_move();
    harness.publish(snapshot_with({kNew}, draining));
    harness.answer(ask, true);
    harness.advance(1);
    EXPECT_EQ(harness.count(Reason::drop_service_gone), 1u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    harness.expect_conserved();
}

TEST_P(ReloadDuringMove, AThirdBladeOfThePoolHasTheSessionNow) {
    ask_for_move();
    harness.publish(snapshot_with({{"www", GetParam(), {2, 3}}}, draining));
    harness.answer_elsewhere(ask, 3);
    expect_all_at({3}, 1);
}

TEST_P(ReloadDuringMove, ABladeOutsideOfThePoolHasTheSessionNow) {
    ask_for_move();
    harness.answer_elsewhere(ask, 3);
    harness.advance(1);
    expect_all_at({2}, 1);
}

INSTANTIATE_TEST_SUITE_P(BothFamilies, Reload, testing::Values(kVip4, kVip6));
INSTANTIATE_TEST_SUITE_P(BothFamilies, ReloadThenReused, testing::Values(kVip4, kVip6));
INSTANTIATE_TEST_SUITE_P(BothFamilies, ReloadDuringMove, testing::Values(kVip4, kVip6));

TEST(ReloadEarly, ABoundConnectionsBladeIsGone) {
    const Scene early{.up = {1}, .late = false};
    Harness harness(early);
    Client client(harness, 42000);
    const Frame syn = client.segment({}, UINT32_MAX, kSyn).frame();
    harness.burst(kFront, {syn});
    harness.burst(kFront, {client.segment().frame()});  // bound to blade 1
    harness.publish(snapshot_of({.up = {1, 2}, .late = false}));
    harness.wire(kBack);
    harness.burst(kFront, {client.data(one_segment_hello_of(2))});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    harness.publish(snapshot_of({.up = {2}, .late = false}));
    harness.answer(asks[0], true);
    EXPECT_TRUE(harness.wire(kBack).empty()) << "no other blade knows this connection";
    EXPECT_EQ(harness.count(Reason::drop_no_blade), 1u);
    harness.expect_conserved();
}

/// Workers hand packets of several ports over to the one that owns the flow.
TEST(SeveralFrontPorts, EachAnswerLeavesByThePortOfItsSyn) {
    Harness harness;
    const auto syn = [&](uint16_t source_port, uint8_t by) {
        return TcpSegment{.source_port = source_port,
                          .flags = kSyn,
                          .options = linux_syn_options(),
                          .destination_mac = harness.context().ports.list[by].mac}
            .frame();
    };
    const Frame stranger = TcpSegment{.destination = "192.0.2.200"}.frame();
    harness.mixed_burst({{kFront, syn(1, kFront)},
                         {kFront2, syn(2, kFront2)},
                         {kFront2, stranger},
                         {kFront, syn(3, kFront)}});
    const auto ports_of = [](const std::vector<Frame>& replies) {
        std::vector<uint16_t> ports;
        for (const Frame& frame : replies) ports.push_back(parse_headers(frame).tuple.destination_port);
        return ports;
    };
    EXPECT_EQ(ports_of(harness.wire(kFront)), (std::vector<uint16_t>{1, 3}));
    EXPECT_EQ(ports_of(harness.wire(kFront2)), (std::vector<uint16_t>{2}));
    EXPECT_EQ(harness.kernel(kFront2).size(), 1u);
    EXPECT_TRUE(harness.kernel(kFront).empty());
    harness.expect_conserved();
}

TEST(Services, NoConnectionHasPortZero) {
    Harness harness;
    harness.burst(kFront, {TcpSegment{.destination_port = 0, .flags = kSyn}.frame()});
    EXPECT_EQ(harness.count(Reason::refused_reset), 1u);
}

TEST(Services, AreFoundByTheirIdsInEverySnapshot) {
    const auto first = Snapshot::build(snapshot_with({kOld, kWww})).value();
    const auto second = Snapshot::build(snapshot_with({kWww, kNew})).value();
    for (const Snapshot* snapshot : {first.get(), second.get()}) {
        ASSERT_NE(snapshot->service(ServiceId::of("www")), nullptr);
        EXPECT_EQ(snapshot->service(ServiceId::of("www"))->name, "www");
    }
    EXPECT_EQ(second->service(ServiceId::of("old")), nullptr);
    EXPECT_EQ(second->service(ServiceId{}), nullptr);
    EXPECT_FALSE(Snapshot::build(snapshot_with({kOld, {"old", "203.0.113.9", {1}}})))
        << "one name, one service";
}

}  // namespace
}  // namespace keyrail
