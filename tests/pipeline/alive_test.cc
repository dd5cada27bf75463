// SPDX-License-Identifier: Apache-2.0
// What a blade takes, whether its flows live and whether it is gone are three things: a blade that takes
// nothing new keeps what it has, and only one that is gone loses it.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

struct AliveRow {
    const char* name;
    bool by_session, late, ipv6;
};
const auto kAliveRows =
    testing::Values(AliveRow{"late", true, true, false}, AliveRow{"late_ipv6", true, true, true},
                    AliveRow{"early", true, false, false}, AliveRow{"early_ipv6", true, false, true},
                    AliveRow{"plain", false, false, false});
const auto kName = [](const auto& row) { return std::string(row.param.name); };

class Alive : public testing::TestWithParam<AliveRow> {
  protected:
    [[nodiscard]] Scene scene(Scene with) const {
        with.by_session = GetParam().by_session;
        with.late = GetParam().late;
        return with;
    }
    [[nodiscard]] Frame packet(uint8_t flags, std::vector<uint8_t> payload = {}) const {
        const bool ipv6 = GetParam().ipv6;
        return TcpSegment{.source = ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                          .destination = ipv6 ? kVip6 : kVip4,
                          .source_port = 1000,
                          .seq = 777,
                          .ack = 888,
                          .flags = flags,
                          .payload = std::move(payload)}
            .frame();
    }
    Harness harness{scene({})};
};
INSTANTIATE_TEST_SUITE_P(Table, Alive, kAliveRows, kName);

TEST_P(Alive, AFlowStaysWithItsBladeWhateverThatTakes) {
    harness.bind_flow(packet(kAck), 2);
    for (const Scene& now : {Scene{.up = {1, 3}, .draining = {2}}, Scene{.up = {1, 3}, .overloaded = {2}},
                             Scene{.up = {1, 3}, .closed = {2}}, Scene{.up = {}, .closed = {1, 2, 3}},
                             Scene{.up = {1, 3}, .closed = {2}, .pool = {1, 3}}}) {
        harness.set_blades(scene(now));
        harness.burst(kFront, {packet(kAck), packet(kAck | kPsh, {1, 2}), packet(kAck | kFin)});
        const auto out = harness.wire(kBack);
        ASSERT_EQ(out.size(), 3u);
        for (const Frame& frame : out) EXPECT_EQ(destination(frame), Harness::blade_mac(2));
    }
    harness.set_blades(scene({.up = {1, 3}, .down = {2}}));
    harness.burst(kFront, {packet(kAck | kPsh, {1, 2})});
    for (const Frame& frame : harness.wire(kBack)) EXPECT_NE(destination(frame), Harness::blade_mac(2));
    harness.set_blades(scene({.up = {1, 3}, .closed = {2}}));
    harness.burst(kFront, {packet(kAck | kPsh, {1, 2})});
    harness.expect_conserved();
}

TEST_P(Alive, NothingNewGoesThere) {
    harness.set_blades(scene({.up = {1, 3}, .closed = {2}}));
    for (uint16_t port = 2000; port < 2100; port++) {
        Client client(harness, port, GetParam().ipv6);
        if (GetParam().late)
            client.syn();
        else
            harness.burst(kFront, {client.segment({}, UINT32_MAX, kSyn).frame(), client.segment().frame()});
        harness.burst(kFront, {client.data(one_segment_hello_of(1))});
        const auto out = harness.wire(kBack);
        ASSERT_FALSE(out.empty());
        for (const Frame& frame : out) EXPECT_NE(destination(frame), Harness::blade_mac(2));
    }
}

// --- late: a hello whose blade stopped listening before it came

class Closing : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        client.syn();
        send();
        ASSERT_EQ(destination(harness.wire(kBack).at(0)), Harness::blade_mac(2));
        harness.set_blades({.up = {1, 3}, .closed = {2}, .agents = true});
    }
    void send() { harness.burst(kFront, {client.data(hello)}); }
    /// Where it went; 0: nowhere.
    uint16_t where() {
        const auto out = harness.wire(kBack);
        return out.empty() ? uint16_t{0} : uint16_t{destination(out.back()).back()};
    }
    FlowAsk asked() {
        const auto asks = harness.flow_asks();
        EXPECT_EQ(asks.size(), 1u);
        return asks.empty() ? FlowAsk{} : asks[0];
    }
    const std::vector<uint8_t> hello = one_segment_hello_of(2);
    Harness harness{Scene{.agents = true}};
    Client client{harness, 42000, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Families, Closing, testing::Bool(),
                         [](const auto& row) { return row.param ? "ipv6" : "ipv4"; });

TEST_P(Closing, BeforeItsHelloItIsBoundElsewhere) {
    Client early(harness, 42001, GetParam());
    early.syn();
    harness.burst(kFront, {early.data(one_segment_hello_of(3))});
    EXPECT_EQ(where(), 3);
    EXPECT_TRUE(harness.flow_asks().empty());
}

TEST_P(Closing, ItsBladeNeverGotIt) {
    send();
    EXPECT_EQ(where(), 0);
    harness.answer(asked(), 0);
    EXPECT_EQ(harness.asks().size(), 1u) << "its session is with the blade that stopped: it moves";
    harness.advance(100'000);
    const uint16_t blade = where();
    EXPECT_TRUE(blade == 1 || blade == 3) << blade;
    harness.burst(kFront, {client.segment({}, static_cast<uint32_t>(hello.size())).frame()});
    EXPECT_EQ(where(), blade);
    harness.expect_conserved();
}

TEST_P(Closing, ItsBladeHasIt) {
    send();
    harness.answer(asked(), 2);
    EXPECT_EQ(where(), 2);
    send();
    EXPECT_EQ(where(), 2);
    EXPECT_TRUE(harness.flow_asks().empty()) << "for two seconds that is known";
    harness.burst(kFront, {client.data({1, 2, 3}, static_cast<uint32_t>(hello.size()))});
    EXPECT_EQ(where(), 2);
    harness.expect_conserved();
}

TEST_P(Closing, WhoCannotBeAskedKeepsIt) {
    send();
    asked();
    harness.advance(AskedFlows::kWaitUs + 1000);
    EXPECT_EQ(where(), 2) << "nobody has said that it is not there";
    send();
    EXPECT_EQ(where(), 2);
    harness.expect_conserved();
}

TEST_P(Closing, OnlyTheFirstDataIsAskedFor) {
    const auto size = static_cast<uint32_t>(hello.size());
    harness.burst(kFront, {client.segment({}, 0).frame(), client.segment({}, size).frame(),
                           client.data({1}, size), client.segment({}, size + 1, kAck | kFin).frame()});
    EXPECT_EQ(harness.wire(kBack).size(), 4u);
    EXPECT_TRUE(harness.flow_asks().empty());
}

TEST_P(Closing, APortThatIsUsedAgain) {
    Client second(harness, 42000, GetParam(), 500'000'000);
    second.syn();  // answered here: on the blade nobody listens
    harness.burst(kFront, {client.data({9}, static_cast<uint32_t>(hello.size()))});
    EXPECT_EQ(where(), 2) << "a SYN proves nothing";
    harness.burst(kFront, {second.data(one_segment_hello_of(3))});
    EXPECT_EQ(where(), 3);
    EXPECT_TRUE(harness.flow_asks().empty());
    harness.expect_conserved();
}

/// Without timestamps the cookie of a connection from the same port can be a stranger's guess.
TEST_P(Closing, AGuessIsAskedFor) {
    for (const bool lives : {true, false}) {
        TcpSegment guess{.source = GetParam() ? "2001:db8:1::10" : "192.0.2.10",
                         .destination = GetParam() ? kVip6 : kVip4,
                         .source_port = 42000,
                         .seq = 500'000'000,
                         .flags = kSyn,
                         .options = {2, 4, 5, 0x78}};
        harness.burst(kFront, {guess.frame()});
        guess.ack = load32(&harness.wire(kFront).at(0)[GetParam() ? 58 : 38]) + 1;
        guess.seq++;
        guess.flags = kAck;
        guess.options = {};
        guess.payload = one_segment_hello_of(3);
        harness.burst(kFront, {guess.frame()});
        EXPECT_EQ(where(), 0);
        harness.answer(asked(), lives ? 2 : 0);
        EXPECT_EQ(where(), lives ? 2 : 3);
        harness.advance(3'000'000);  // the answer is forgotten
    }
    harness.expect_conserved();
}

TEST_P(Closing, AHelloThatIsBeingReadOn) {
    const auto size = static_cast<uint32_t>(hello.size());
    Client halves(harness, 42002, GetParam());
    harness.set_blades({.up = {2}, .closed = {1, 3}, .agents = true});
    halves.syn();
    harness.burst(kFront, {halves.data(cut(hello, 0, 100))});
    harness.advance(11'000);
    ASSERT_EQ(where(), 2) << "given up, and read on";
    harness.set_blades({.up = {1, 3}, .closed = {2}, .agents = true});
    harness.burst(kFront, {halves.data(cut(hello, 0, 100))});
    harness.answer(asked(), 0);
    harness.burst(kFront, {halves.data(cut(hello, 100, size), 100)});
    harness.advance(100'000);
    const uint16_t blade = where();
    EXPECT_TRUE(blade == 1 || blade == 3) << blade;
    harness.expect_conserved();
}

}  // namespace
}  // namespace keyrail
