// SPDX-License-Identifier: Apache-2.0
// What becomes of a flow's addresses and ports afterwards: the next connection from there, and a stranger's.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

// --- the next connection from the same port

struct Ending {
    const char* name;
    std::vector<std::pair<char, uint8_t>> said;  // 'c' the client, 'b' the blade
};
std::ostream& operator<<(std::ostream& out, const Ending& ending) { return out << ending.name; }

class ReusedPort : public testing::TestWithParam<std::tuple<Ending, bool, TlsVersion>> {
  protected:
    void SetUp() override {
        client.syn();
        harness.burst(kFront, {client.data(one_segment_hello_of(2))});
        const auto end = static_cast<uint32_t>(one_segment_hello_of(2).size());
        for (const auto& [who, flags] : std::get<0>(GetParam()).said) {
            if (who == 'c') harness.burst(kFront, {client.segment({}, end, flags).frame()});
            if (who == 'b')
                harness.burst(kBack, {TcpSegment{.source = ipv6() ? kVip6 : kVip4,
                                                 .destination = ipv6() ? "2001:db8:1::10" : "192.0.2.10",
                                                 .source_port = 443,
                                                 .destination_port = 41000,
                                                 .flags = flags,
                                                 .source_mac = Harness::blade_mac(2)}
                                          .frame()});
        }
        harness.wire(kBack);
        harness.wire(kFront);
        harness.kernel(kBack);
        again.syn();  // answered: a cookie
    }
    [[nodiscard]] static bool ipv6() { return std::get<1>(GetParam()); }
    [[nodiscard]] static TlsVersion version() { return std::get<2>(GetParam()); }

    Harness harness;
    Client client{harness, 41000, ipv6()};
    Client again{harness, 41000, ipv6(), 0x9abc0000};
};
INSTANTIATE_TEST_SUITE_P(
    Table, ReusedPort,
    testing::Combine(testing::Values(Ending{"client_first", {{'c', kFin | kAck}, {'b', kFin | kAck}}},
                                     Ending{"blade_first", {{'b', kFin | kAck}, {'c', kFin | kAck}}},
                                     Ending{"way_back_not_seen", {{'c', kFin | kAck}}},
                                     Ending{"client_reset", {{'c', kRst}}},
                                     Ending{"blade_reset", {{'b', kRst}}}),
                     testing::Bool(), testing::Values(TlsVersion::tls12, TlsVersion::tls13)));

TEST_P(ReusedPort, FollowsTheKeyWithoutAMove) {
    harness.burst(kFront, {again.segment().frame()});
    EXPECT_TRUE(harness.wire(kBack).empty()) << "the old blade would reset the new connection";
    const Frame hello = again.data(one_segment_hello_of(3, version()));
    harness.burst(kFront, {hello, again.data({1}, 2000)});
    EXPECT_TRUE(harness.asks().empty());
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(destination(out[0]), Harness::blade_mac(3));
    EXPECT_EQ(destination(out[1]), Harness::blade_mac(3));
    harness.burst(kFront, {again.data({1}, 2001)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(3)) << "an ordinary flow again";
    EXPECT_EQ(harness.count(Reason::steer_home), 2u);
    harness.expect_conserved();
}

TEST_P(ReusedPort, InSegments) {
    const auto hello = one_segment_hello_of(3, version());
    for (size_t at = 0; at < hello.size(); at += 100)
        harness.burst(kFront, {again.data(cut(hello, at, at + 100), static_cast<uint32_t>(at))});
    const auto out = harness.wire(kBack);
    EXPECT_EQ(out.size(), (hello.size() + 99) / 100);
    for (const Frame& frame : out) EXPECT_EQ(destination(frame), Harness::blade_mac(3));
    EXPECT_TRUE(harness.asks().empty());
    harness.expect_conserved();
}

/// What the blade still has to hear of the old connection goes to it, as long as the new one is only a SYN.
TEST_P(ReusedPort, ASynAloneEndsNothing) {
    const Frame late =
        client.segment({}, static_cast<uint32_t>(one_segment_hello_of(2).size()), kFin | kAck).frame();
    harness.burst(kFront, {late});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
}

// --- a stranger's SYN

struct Strangers {
    const char* name;
    bool by_session, late, half_closed, draining;
};
class StrangersSyn : public testing::TestWithParam<Strangers> {};
INSTANTIATE_TEST_SUITE_P(Table, StrangersSyn,
                         testing::Values(Strangers{"late", true, true, false, false},
                                         Strangers{"early", true, false, false, false},
                                         Strangers{"plain", false, false, false, false},
                                         Strangers{"early_half_closed", true, false, true, false},
                                         Strangers{"plain_half_closed", false, false, true, false},
                                         Strangers{"early_half_closed_draining", true, false, true, true},
                                         Strangers{"plain_half_closed_draining", false, false, true, true}),
                         [](const auto& row) { return std::string(row.param.name); });

/// Who knows the addresses and ports of a connection that lives, and none of its numbers, cannot end it.
TEST_P(StrangersSyn, AndItsRstEndNothing) {
    const auto& [name, by_session, late, half_closed, draining] = GetParam();
    Scene scene{.by_session = by_session, .late = late};
    Harness harness{scene};
    TcpSegment own{.source_port = 41000, .seq = 5001, .ack = 1, .payload = {1}};
    harness.bind_flow(own.frame(), 2);
    if (half_closed) {
        own.payload = {};
        own.flags = kFin | kAck;
        harness.burst(kFront, {own.frame()});
    }
    if (draining) {
        scene.up = {1, 3};
        scene.draining = {2};
        harness.set_blades(scene);
    }
    TcpSegment strange{
        .source_port = 41000, .seq = 0x9abc0000, .flags = kSyn, .options = linux_syn_options()};
    harness.burst(kFront, {strange.frame()});
    strange.seq++;
    strange.flags = kRst;
    strange.options = {};
    harness.burst(kFront, {strange.frame()});
    for (const Frame& frame : harness.wire(kBack)) EXPECT_EQ(destination(frame), Harness::blade_mac(2));
    harness.wire(kFront);
    harness.advance(kForgottenUs);
    const uint64_t before = harness.count(Reason::flow);
    own.flags = kAck;
    own.payload = {};
    own.seq += 1;
    harness.burst(kFront, {own.frame()});
    EXPECT_EQ(harness.count(Reason::flow), before + 1) << "it is known";
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
    harness.expect_conserved();
}

/// Half-closed, as far as was heard, on a blade that takes nothing new: only that knows whether it lives.
TEST(StrangersSynAndABladeThatClosed, ItsBladeIsAsked) {
    for (const bool by_session : {true, false}) {
        for (const bool lives : {true, false}) {
            Scene scene{.by_session = by_session, .late = false, .agents = true};
            Harness harness{scene};
            TcpSegment own{.source_port = 41000, .seq = 5001, .ack = 1, .flags = kFin | kAck};
            harness.bind_flow(own.frame(), 2);
            harness.burst(kFront, {own.frame()});
            harness.wire(kBack);
            scene.up = {1, 3};
            scene.closed = {2};
            harness.set_blades(scene);
            TcpSegment next{.source_port = 41000, .seq = 0x9abc0000, .flags = kSyn};
            harness.burst(kFront, {next.frame()});
            EXPECT_TRUE(harness.wire(kBack).empty());
            const auto asks = harness.flow_asks();
            ASSERT_EQ(asks.size(), 1u);
            harness.answer(asks[0], lives ? 2 : 0);
            const auto out = harness.wire(kBack);
            ASSERT_EQ(out.size(), 1u);
            EXPECT_EQ(destination(out[0]) == Harness::blade_mac(2), lives);
            if (!lives) continue;
            next.seq++;
            next.flags = kRst;
            harness.burst(kFront, {next.frame()});
            harness.wire(kBack);
            harness.advance(kForgottenUs);
            own.seq++;
            own.flags = kAck;
            harness.burst(kFront, {own.frame()});
            EXPECT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
            EXPECT_TRUE(harness.flow_asks().empty()) << "it is known";
            harness.expect_conserved();
        }
    }
}

// --- a hello that was read by half

/// How its client goes away and comes again.
struct Again {
    const char* name;
    bool reset, passed_on, late;
};
class HalfRead : public testing::TestWithParam<Again> {};
INSTANTIATE_TEST_SUITE_P(Table, HalfRead,
                         testing::Values(Again{"reset", true, false, true},
                                         Again{"without_a_word", false, false, true},
                                         Again{"reset_after_passing_on", true, true, true},
                                         Again{"early_reset", true, true, false},
                                         Again{"early_without_a_word", false, true, false}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(HalfRead, TheNextOneIsReadFromItsBeginning) {
    const auto& [name, reset, passed_on, late] = GetParam();
    Harness harness{Scene{.late = late}};
    const auto hello = one_segment_hello_of(2);
    TcpSegment base{.source_port = 41000, .seq = 5000, .flags = kSyn, .options = linux_syn_options()};
    uint32_t cookie = 0, tsval = 0;
    const auto shake = [&](uint32_t isn) {
        base.seq = isn;
        if (late) {
            Client c(harness, 41000, false, isn);
            c.syn();
            cookie = c.cookie;
            tsval = c.tsval;
            return;
        }
        TcpSegment s = base;
        harness.burst(kFront, {s.frame()});  // its blade shakes hands
        s.flags = kAck;
        s.seq = isn + 1;
        s.ack = 1;
        harness.burst(kFront, {s.frame()});
        harness.wire(kBack);
    };
    const auto say = [&](std::vector<uint8_t> bytes, uint32_t offset, uint8_t flags = kAck) {
        TcpSegment s = base;
        s.seq += 1 + offset;
        s.ack = late ? cookie + 1 : 1;
        s.flags = flags;
        s.options = timestamp_option(78, tsval);
        s.payload = std::move(bytes);
        harness.burst(kFront, {s.frame()});
    };
    shake(5000);
    say(cut(hello, 0, 100), 0);
    if (passed_on && late) harness.advance(11'000);
    harness.wire(kBack);
    if (reset) say({}, 100, kRst);
    harness.wire(kBack);
    shake(0x9abc0000);
    say(cut(hello, 0, 120), 0);
    say(cut(hello, 120, hello.size()), 120);
    for (const MoveAsk& ask : harness.asks()) harness.answer(ask, true);
    EXPECT_EQ(harness.count(Reason::steer_home) + harness.count(Reason::steer_move), 1u);
    harness.wire(kBack);
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
