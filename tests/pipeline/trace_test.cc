// SPDX-License-Identifier: Apache-2.0
// What is told of a traced packet: which stage ended it, how and why, once; and nothing of others.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {

void PrintTo(const Exit& exit, std::ostream* out) {
    *out << "packet " << exit.packet << ": stage " << static_cast<int>(exit.stage) << ", action "
         << static_cast<int>(exit.action) << ", " << kReasonTexts[static_cast<size_t>(exit.reason)].name
         << ", blade " << exit.blade;
}
bool operator==(const Exit& a, const Exit& b) {
    return a.packet == b.packet && a.stage == b.stage && a.action == b.action && a.reason == b.reason &&
           a.blade == b.blade;
}

namespace {

using namespace test;
using testing::Test;

Exit told(uint32_t packet, Stage stage, Action action, Reason reason, uint16_t blade = 0) {
    return {.packet = packet, .stage = stage, .action = action, .reason = reason, .blade = BladeId(blade)};
}
using Exits = std::vector<Exit>;

Frame segment(uint16_t port, std::vector<uint8_t> payload = {1, 2, 3}) {
    return TcpSegment{.source_port = port, .ack = 77, .payload = std::move(payload)}.frame();
}
void set_mtu(Harness& harness, uint8_t port, uint32_t mtu) {
    harness.context().shared.port_mtu[port] = mtu;
    harness.context().mtus.read(harness.context().shared);
}

/// Packets that leave in the burst that they came in.
TEST(Trace, TellsWhoEndedAPacketAndHow) {
    Harness harness;
    harness.bind_flow(segment(2000), 2);
    harness.trace();
    harness.burst(kFront, {
                              cut_short(),
                              TcpSegment{.destination = "192.0.2.1"}.frame(),
                              TcpSegment{.destination_port = 80}.frame(),
                              segment(2000),
                              TcpSegment{.flags = kSyn}.frame(),
                          });
    EXPECT_EQ(harness.exits(), (Exits{
                                   told(1, Stage::parse, Action::drop, Reason::drop_truncated),
                                   told(3, Stage::parse, Action::reply, Reason::refused_reset),
                                   told(5, Stage::bind, Action::reply, Reason::syn_cookie),
                                   told(4, Stage::bind, Action::forward, Reason::flow, 2),
                                   told(2, Stage::parse, Action::punt, Reason::punt_not_service),
                               }))
        << "in the order of devices";
    harness.burst(kBack, {from_blade(), from_blade("192.0.2.99")});
    EXPECT_EQ(harness.exits(), (Exits{
                                   told(6, Stage::parse, Action::forward, Reason::returned),
                                   told(7, Stage::parse, Action::punt, Reason::punt_unresolved),
                               }));
    harness.burst_from_kernel(kFront, {segment(3000)});
    EXPECT_EQ(harness.exits(), (Exits{told(8, Stage::egress, Action::forward, Reason::from_kernel)}));
    harness.expect_conserved();
}

TEST(Trace, TellsNothingOfOthers) {
    Harness harness;
    harness.bind_flow(segment(2000), 2);
    const std::vector<Frame> frames = {segment(2000), segment(2000), cut_short(), cut_short()};
    harness.trace([](uint32_t packet) { return packet % 2 == 0; });
    harness.burst(kFront, frames);
    EXPECT_EQ(harness.exits(), (Exits{told(4, Stage::parse, Action::drop, Reason::drop_truncated),
                                      told(2, Stage::bind, Action::forward, Reason::flow, 2)}));
    harness.stop_tracing();
    harness.burst(kFront, frames);
    EXPECT_EQ(harness.exits(), Exits{}) << "marked, but nobody traces";
    EXPECT_EQ(harness.count(Reason::flow), 4u);
    EXPECT_EQ(harness.count(Reason::drop_truncated), 4u);
    EXPECT_EQ(harness.context().trace.lost(), 0u);
}

TEST(Trace, TellsWhatEgressCouldNotSend) {
    Harness harness;
    for (const uint16_t blade : std::initializer_list<uint16_t>{2, 3})
        harness.bind_flow(segment(static_cast<uint16_t>(2000 + blade)), blade);
    harness.context().shared.blade_hop[3].store(NextHop{});
    set_mtu(harness, kBack, 600);
    const Frame longer = segment(2002, std::vector<uint8_t>(1000, 7));
    harness.trace();
    harness.burst(kFront, {segment(2003), longer});
    EXPECT_EQ(harness.exits(), (Exits{
                                   told(1, Stage::egress, Action::drop, Reason::drop_blade_unresolved, 3),
                                   told(2, Stage::egress, Action::reply, Reason::too_big_answered, 2),
                               }));
    for (int i = 0; i < 200 && harness.count(Reason::drop_too_big) == 0; i++) {
        (void)harness.exits();
        harness.burst(kFront, {longer});
    }
    const auto last = harness.exits();
    ASSERT_EQ(last.size(), 1u);
    EXPECT_EQ(last[0], told(last[0].packet, Stage::egress, Action::drop, Reason::drop_too_big, 2));
}

TEST(Trace, TellsWhatADeviceOrAWorkerDidNotTake) {
    Harness harness(Scene{.workers = 2});
    uint16_t ours = 2000, theirs = 2000;
    const auto owner = [&](uint16_t port) {
        return owner_of(harness.context().flow_hash(parse_headers(segment(port))), 2);
    };
    while (owner(ours) != 0) ours++;
    while (owner(theirs) != 1) theirs++;
    harness.bind_flow(segment(ours), 2);
    harness.trace();
    const auto burst_of = [&](const Frame& frame) { harness.burst(kFront, {frame}); };
    burst_of(segment(theirs));
    EXPECT_EQ(harness.exits(), (Exits{told(1, Stage::parse, Action::handoff, Reason::handed_over)}));
    for (int i = 0; i < 100 && harness.count(Reason::drop_handoff_full) == 0; i++) {
        (void)harness.exits();
        burst_of(segment(theirs));
    }
    auto last = harness.exits();
    ASSERT_EQ(last.size(), 1u);
    EXPECT_EQ(last[0], told(last[0].packet, Stage::egress, Action::drop, Reason::drop_handoff_full));
    for (const bool kernel : {false, true}) {
        const Reason full = kernel ? Reason::drop_punt_full : Reason::drop_tx_full;
        for (int i = 0; i < 1100 && harness.count(full) == 0; i++) {
            (void)harness.exits();
            burst_of(kernel ? TcpSegment{.destination = "192.0.2.1"}.frame() : segment(ours));
        }
        last = harness.exits();
        ASSERT_EQ(last.size(), 1u) << "not as sent, too";
        EXPECT_EQ(last[0], told(last[0].packet, Stage::tx, Action::drop, full, kernel ? 0 : 2));
    }
    harness.expect_conserved();
}

TEST(Trace, TellsOfAHelloWhenItHasGone) {
    Harness harness;
    const auto hello = hello_of(2), one_segment = one_segment_hello_of(3);
    Client client(harness, 41000), other(harness, 41001);
    client.syn();
    other.syn();
    harness.trace();
    const auto frames = client.hello(hello);
    ASSERT_EQ(frames.size(), 2u);
    harness.burst(kFront, {frames[0]});
    EXPECT_EQ(harness.exits(), Exits{}) << "held";
    harness.burst(kFront, {frames[1], other.data(one_segment)});
    EXPECT_EQ(harness.exits(), (Exits{
                                   told(3, Stage::settle, Action::forward, Reason::steer_home, 2),
                                   told(4, Stage::settle, Action::forward, Reason::hello_rest, 2),
                                   told(5, Stage::settle, Action::forward, Reason::steer_home, 3),
                               }));
    harness.expect_conserved();
}

/// A hello whose session must move: it goes by an answer, by its deadline, or with its client.
struct End {
    const char* name;
    void (*end)(Harness&, const Client&);
    Exits exits;
};
class TracedMove : public testing::TestWithParam<End> {};

TEST_P(TracedMove, TellsHowItEnded) {
    Harness harness(Scene{.up = {1}, .draining = {2}});
    Client client(harness, 41000);
    client.syn();
    harness.trace();
    harness.burst(kFront, {client.data(one_segment_hello_of(2))});
    EXPECT_EQ(harness.exits(), Exits{});
    GetParam().end(harness, client);
    EXPECT_EQ(harness.exits(), GetParam().exits);
    harness.expect_conserved();
}
INSTANTIATE_TEST_SUITE_P(
    Ends, TracedMove,
    testing::Values(End{"moved",
                        [](Harness& harness, const Client&) { harness.answer(harness.asks().at(0), true); },
                        {told(2, Stage::settle, Action::forward, Reason::steer_move, 1)}},
                    End{"not_moved",
                        [](Harness& harness, const Client&) { harness.answer(harness.asks().at(0), false); },
                        {told(2, Stage::settle, Action::forward, Reason::steer_move_failed, 1)}},
                    End{"too_late",
                        [](Harness& harness, const Client&) { harness.advance(25'000); },
                        {told(2, Stage::bind, Action::forward, Reason::steer_move_late, 1)}},
                    End{"reset",
                        [](Harness& harness, const Client& client) {
                            harness.burst(kFront, {client.segment({}, 0, kRst | kAck).frame()});
                        },
                        {told(2, Stage::bind, Action::drop, Reason::drop_rst_cookie),
                         told(3, Stage::bind, Action::drop, Reason::drop_rst_cookie)}}),
    [](const auto& end) { return std::string(end.param.name); });

TEST(Trace, TellsOnceOfWhatIsReadInPassing) {
    Harness harness(Scene{.late = false});
    const auto hello = hello_of(2);
    Client client(harness, 41000);
    harness.bind_flow(client.segment().frame(), 2);
    harness.context()
        .flows
        .find(harness.context().flow_hash(parse_headers(client.segment().frame())),
              harness.context().clock.ticks)
        ->hello_due = true;
    harness.trace();
    const auto frames = client.hello(hello);
    for (const Frame& frame : frames) harness.burst(kFront, {frame});
    EXPECT_EQ(harness.exits(), (Exits{
                                   told(1, Stage::bind, Action::forward, Reason::flow, 2),
                                   told(2, Stage::settle, Action::forward, Reason::steer_home, 2),
                               }))
        << "the first was forwarded, and kept to be read";
    harness.expect_conserved();
}

TEST(Trace, TellsOfWhatWaitedForItsBladeOnce) {
    Harness harness(Scene{.agents = true});
    harness.trace();
    for (int i = 0; i < 9; i++) harness.burst(kFront, {segment(2000)});
    EXPECT_EQ(harness.exits(), (Exits{told(9, Stage::bind, Action::drop, Reason::drop_ask_full)}));
    harness.answer(harness.flow_asks().at(0), 3);
    const auto exits = harness.exits();
    ASSERT_EQ(exits.size(), 8u);
    for (uint32_t i = 0; i < 8; i++)
        EXPECT_EQ(exits[i], told(i + 1, Stage::bind, Action::forward, Reason::flow, 3));
    harness.expect_conserved();
}

TEST(Trace, CountsWhatFindsNoRoom) {
    Harness harness;
    harness.trace();
    constexpr size_t kBursts = 130, kPackets = kBursts * kBurst;
    const std::vector<Frame> frames(kBurst, cut_short());
    for (size_t i = 0; i < kBursts; i++) harness.burst(kFront, frames);
    const size_t room = harness.exits().size();
    EXPECT_LT(room, kPackets);
    EXPECT_EQ(harness.context().trace.lost(), kPackets - room);
    EXPECT_EQ(harness.count(Reason::drop_truncated), kPackets);
}

}  // namespace
}  // namespace keyrail
