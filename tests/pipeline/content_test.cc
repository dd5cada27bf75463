// SPDX-License-Identifier: Apache-2.0
// Which blades a hello may go to, by what it asks for and by how they are, and what that means for its
// session.
#include <gtest/gtest.h>

#include <set>

#include "dataplane/tables/moved_table.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

const std::vector<SceneRoute> kRoutes = {{"img.keyrail.test", "", {2, 3}}, {"*.keyrail.test", "h2", {4}}};
const Scene kContent{.up = {1, 2, 3, 4}, .pool = {1}, .routes = kRoutes};

std::vector<Frame> hello(const Client& client, const HelloOptions& options) {
    return client.hello(client_hello(options));
}

MacAddress mac(uint16_t blade) { return Harness::blade_mac(blade); }

/// One connection's hello; the blade's MAC, or all zero when it is held.
MacAddress send(Harness& harness, uint16_t port, const HelloOptions& options) {
    Client client(harness, port);
    client.syn();
    harness.burst(kFront, hello(client, options));
    const auto out = harness.wire(kBack);
    return out.empty() ? MacAddress{} : destination(out[0]);
}

TEST(Content, GoesToThePoolThatHasIt) {
    Harness harness(kContent);
    std::set<MacAddress> blades;
    for (uint16_t i = 0; i < 20; i++)
        blades.insert(send(harness, static_cast<uint16_t>(44000 + i), {.server_name = "img.keyrail.test"}));
    EXPECT_EQ(blades, (std::set{mac(2), mac(3)}));
    EXPECT_EQ(send(harness, 45000, {.server_name = "www.keyrail.test"}), mac(1)) << "no route: the service's";
    EXPECT_EQ(send(harness, 45001, {.server_name = "www.keyrail.test", .alpn = {2, 'h', '2'}}), mac(4));
    EXPECT_EQ(harness.count(Reason::steer_new), 22u);
}

TEST(Content, IsKnownFromAHelloInTwoSegments) {
    Harness harness(kContent);
    Client client(harness, 44000);
    client.syn();
    const HelloOptions options{.server_name = "www.keyrail.test", .alpn = {2, 'h', '2'}};
    for (const Frame& segment : hello(client, options)) harness.burst(kFront, {segment});
    const auto out = harness.wire(kBack);
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(destination(out[0]), mac(4));
    EXPECT_EQ(destination(out[1]), mac(4));
}

TEST(Content, TakesItsSessionWithIt) {
    Harness harness(kContent);
    EXPECT_EQ(send(harness, 44000, {.server_name = "img.keyrail.test", .name = Harness::name(1)}),
              MacAddress{});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].from, 1);
    EXPECT_TRUE(asks[0].to == 2 || asks[0].to == 3) << asks[0].to;
    harness.answer(asks[0], true);
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), mac(asks[0].to));
    EXPECT_EQ(harness.count(Reason::steer_move), 1u);
    EXPECT_EQ(send(harness, 44001, {.server_name = "img.keyrail.test", .name = Harness::name(3)}), mac(3))
        << "a holder that has the content keeps its session";
    EXPECT_TRUE(harness.asks().empty());
    harness.expect_conserved();
}

TEST(Content, MayLeaveItsSessionBehind) {
    Scene scene = kContent;
    scene.content_moves = false;
    Harness harness(scene);
    EXPECT_NE(send(harness, 44000, {.server_name = "img.keyrail.test", .name = Harness::name(1)}), mac(1));
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(harness.count(Reason::steer_content), 1u);
}

TEST(Content, OfNobodyIsNotAnsweredByOthers) {
    Scene scene = kContent;
    scene.up = {1, 4};
    scene.down = {2, 3};
    for (const bool post_quantum : {true, false}) {  // in two segments, and in one
        Harness harness(scene);
        EXPECT_EQ(send(harness, 44000, {.server_name = "img.keyrail.test", .post_quantum = post_quantum}),
                  MacAddress{});
        EXPECT_EQ(harness.count(Reason::refused_reset), 1u);
        const auto answers = harness.wire(kFront);
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_EQ(parse_headers(answers[0]).flags, kRst);
        EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
        EXPECT_EQ(harness.held(), 0u);
        harness.expect_conserved();
    }
}

/// Its segments came one by one, and one more behind the hello.
TEST(Content, OfNobodyIsRefusedWithAllThatIsHeld) {
    Scene scene = kContent;
    scene.up = {1, 4};
    scene.down = {2, 3};
    Harness harness(scene);
    Client client(harness, 44000);
    client.syn();
    const auto segments = hello(client, {.server_name = "img.keyrail.test"});
    ASSERT_EQ(segments.size(), 2u);
    harness.burst(kFront, {segments[0]});
    EXPECT_EQ(harness.held(), 1u);
    harness.burst(kFront, {segments[1], client.data({1}, 2 * kFullSegment)});
    EXPECT_EQ(harness.count(Reason::refused_reset), 1u);
    EXPECT_EQ(harness.wire(kFront).size(), 1u);
    EXPECT_TRUE(harness.wire(kBack).empty());
    EXPECT_EQ(harness.held(), 0u);
    harness.expect_conserved();
}

TEST(Content, OfARouteIsServedThoughThePoolIsDown) {
    Scene scene = kContent;
    scene.up = {2, 3, 4};
    scene.down = {1};
    Harness harness(scene);
    EXPECT_NE(send(harness, 44000, {.server_name = "img.keyrail.test"}), MacAddress{});
}

// --- a move has to be worth it

TEST(Worth, IsJudgedByVersion) {
    Harness harness(Scene{.up = {2, 3}, .draining = {1}, .hold_budget_tls13_us = 0});
    EXPECT_NE(send(harness, 44000, {.name = Harness::name(1)}), MacAddress{});
    EXPECT_EQ(harness.count(Reason::steer_not_worth), 1u);
    EXPECT_TRUE(harness.asks().empty());
    EXPECT_EQ(send(harness, 44001, {.max_version = TlsVersion::tls12, .name = Harness::name(1)}),
              MacAddress{});
    const auto asks = harness.asks();
    ASSERT_EQ(asks.size(), 1u);
    EXPECT_EQ(asks[0].budget_us, 20'000u);
}

// --- blades over their limit

const Scene kOverload{.up = {2, 3}, .overloaded = {1}};

TEST(Overload, NewClientsGoElsewhere) {
    Harness harness(kOverload);
    for (uint16_t i = 0; i < 20; i++) EXPECT_NE(send(harness, static_cast<uint16_t>(44000 + i), {}), mac(1));
}

TEST(Overload, SessionsMoveAway) {
    Harness harness(kOverload);
    EXPECT_EQ(send(harness, 44000, {.name = Harness::name(1)}), MacAddress{});
    EXPECT_EQ(harness.asks().at(0).from, 1);
}

TEST(Overload, SessionsThatAreNotWorthAMoveStay) {
    Scene scene = kOverload;
    scene.hold_budget_tls13_us = 0;
    Harness harness(scene);
    EXPECT_EQ(send(harness, 44000, {.name = Harness::name(1)}), mac(1));
    EXPECT_EQ(harness.count(Reason::steer_home), 1u);
}

TEST(Overload, OfAllBladesIsSharedByAll) {
    Harness harness(Scene{.up = {}, .overloaded = {1, 2, 3}});
    std::set<MacAddress> blades;
    for (uint16_t i = 0; i < 30; i++) blades.insert(send(harness, static_cast<uint16_t>(44000 + i), {}));
    EXPECT_EQ(blades.size(), 3u);
    EXPECT_EQ(send(harness, 45000, {.name = Harness::name(2)}), mac(2)) << "nobody is better off";
    EXPECT_TRUE(harness.asks().empty());
}

TEST(Overload, FlowsStay) {
    Harness harness;
    Client client(harness, 44000);
    client.syn();
    harness.burst(kFront, hello(client, {.name = Harness::name(1)}));
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), mac(1));
    harness.set_blades(kOverload);
    harness.burst(kFront, {client.data({1}, 3000)});
    EXPECT_EQ(destination(harness.wire(kBack).at(0)), mac(1));
}

TEST(NewBlade, MovesNothing) {
    Harness harness;
    harness.moved().set(Harness::name(1, 9), 2, 1'800'000'000, 0);
    harness.set_blades(Scene{.up = {1, 2, 3, 4}});
    uint16_t port = 44000;
    for (uint8_t salt = 1; salt < 9; salt++)
        for (const uint16_t blade : std::initializer_list<uint16_t>{1, 2, 3})
            EXPECT_EQ(send(harness, port++, {.name = Harness::name(blade, salt)}), mac(blade));
    EXPECT_EQ(send(harness, port++, {.name = Harness::name(1, 9)}), mac(2)) << "moved before";
    EXPECT_TRUE(harness.asks().empty());
}

}  // namespace
}  // namespace keyrail
