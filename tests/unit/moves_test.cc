// SPDX-License-Identifier: Apache-2.0
// What Moves makes of wishes; every interleaving of what follows is the explorer's (moves_explorer_test.cc).
#include "control/daemon/moves/moves.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/unit/moves_links.h"

namespace keyrail {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using namespace std::chrono_literals;

constexpr Moves::Time kNow{hours(1)};
constexpr std::chrono::microseconds kPatience = 100ms;

class MovesTest : public ::testing::Test {
  protected:
    static ConfigPtr config() {
        Config made;
        for (const BladeId id : {BladeId{1}, BladeId{2}, BladeId{3}}) made.blades[id].id = id;
        auto& service = made.services.emplace_back();
        service.name = "www";
        service.port = 443;
        service.blades = {1, 2, 3};
        return std::make_shared<const Config>(std::move(made));
    }
    static SessionName name_of(uint8_t home) {
        SessionName name{};
        reinterpret_cast<uint8_t*>(name.data())[0] = home;
        return name;
    }
    void announce(BladeId blade, const SessionName& name, uint64_t order = 1) {
        chassis::Announce message;
        message.add_held()->set_name(bytes_of(name));
        message.mutable_held(0)->set_expires_ms(unix_ms() + 3'600'000);
        message.mutable_held(0)->set_receipt(fmt::format("{} {}", blade, order));
        moves.announce(blade, message);
    }
    void request(const SessionName& name, uint32_t from, uint32_t to) {
        link::MoveRequest message;
        message.set_name(bytes_of(name));
        message.set_from(from);
        message.set_to(to);
        message.set_service("www");
        moves.request(message, kNow);
    }
    void not_found(size_t order, chassis::Fate fate, uint64_t epoch = 0) {
        chassis::MoveDone message;
        message.set_order_id(links.orders[order].second.order_id());
        message.set_result(chassis::NOT_FOUND);
        message.set_fate(fate);
        message.set_epoch(epoch);
        moves.done(links.orders[order].first, message, kNow);
    }

    void pull(BladeId blade, const SessionName& name) {
        chassis::Pull message;
        message.set_name(bytes_of(name));
        message.set_service("www");
        message.set_budget_us(kPatience.count());
        moves.pull(blade, 77, message, kNow);
    }

    /// The target of that order says so.
    void moved(size_t order, Moves::Time now = kNow) {
        ASSERT_GT(links.orders.size(), order);
        chassis::MoveDone message;
        message.set_order_id(links.orders[order].second.order_id());
        message.set_result(chassis::MOVED);
        moves.done(BladeId::or_none(links.orders[order].second.to()), message, now);
    }

    Links links;
    Moves moves{config(), links, 1};
};

TEST_F(MovesTest, ADrainMovesWhatIsThere) {
    moves.drain(1, 3, name_of(1), "www", kNow);
    ASSERT_EQ(links.orders.size(), 1u);
    EXPECT_EQ(links.orders[0].first, 1u);
    EXPECT_EQ(links.orders[0].second.to(), 3u);
}

/// Its client came back while the list was on its way: it has moved, and must not be torn from its blade
/// again.
TEST_F(MovesTest, ADrainLeavesAloneWhatHasLeft) {
    announce(2, name_of(1));
    moves.drain(1, 3, name_of(1), "www", kNow);
    EXPECT_THAT(links.orders, IsEmpty());
    EXPECT_THAT(links.drains, ElementsAre(MoveResult::not_found));
    EXPECT_EQ(moves.holder(name_of(1)), 2);
}

TEST_F(MovesTest, TheDataplaneHearsOfMovesThatItDidNotAskFor) {
    moves.drain(1, 2, name_of(1), "www", kNow);
    moved(0);
    moves.tick(kNow);
    EXPECT_EQ(links.told.at(name_of(1)), 2u);
}

/// The target may tell the dataplane itself; nobody waits in such a way for what a drain or a pull moves.
TEST_F(MovesTest, TheTargetHearsHowToSayThatItHasArrived) {
    link::MoveRequest request;
    request.set_move_id(77);
    request.set_name(bytes_of(name_of(1)));
    request.set_from(1);
    request.set_to(3);
    request.set_service("www");
    request.set_token(99);
    request.set_arrival_port(7402);
    moves.request(request, kNow);
    moves.drain(2, 1, name_of(2), "www", kNow);
    ASSERT_EQ(links.announced.size(), 2u);
    EXPECT_EQ(links.announced[0].first, 3u);
    EXPECT_EQ(links.announced[0].second.arrival().move_id(), 77u);
    EXPECT_EQ(links.announced[0].second.arrival().token(), 99u);
    EXPECT_EQ(links.announced[0].second.arrival().port(), 7402u);
    EXPECT_FALSE(links.announced[1].second.has_arrival());
    request.set_name(bytes_of(name_of(3)));
    request.set_from(3);
    request.set_to(1);
    request.set_arrival_port(70'000);  // none
    moves.request(request, kNow);
    EXPECT_FALSE(links.announced[2].second.has_arrival());
}

/// A drain moved it, and before the dataplane was told of it, the dataplane had it moved on.
TEST_F(MovesTest, TheDataplaneIsNotToldOfThePast) {
    moves.drain(1, 2, name_of(1), "www", kNow);
    moved(0);
    link::MoveRequest request;
    request.set_name(bytes_of(name_of(1)));
    request.set_from(1);
    request.set_to(3);
    request.set_service("www");
    moves.request(request, kNow);
    moved(1);
    EXPECT_EQ(links.told.at(name_of(1)), 3u);
    moves.tick(kNow);
    EXPECT_EQ(links.told.at(name_of(1)), 3u);
}

TEST_F(MovesTest, ASessionThatIsHomeAgainIsLookedForThere) {
    const SessionName name = name_of(2);
    announce(3, name);
    moves.drain(3, 2, name, "www", kNow);
    moved(0);
    request(name, 3, 2);  // the dataplane has not heard of it
    EXPECT_EQ(links.orders.size(), 1U) << "it is where the client goes";
    EXPECT_EQ(links.told[name], 2U);
    request(name, 3, 1);
    ASSERT_EQ(links.orders.size(), 2U);
    EXPECT_EQ(links.orders[1].first, 2);
}

/// Two connections of one client for different content, or a drain that meets a hello.
TEST_F(MovesTest, WhatIsUnderWayToAnotherBladeIsMovedOn) {
    const SessionName name = name_of(1);
    moves.drain(1, 2, name, "www", kNow);
    request(name, 1, 3);
    EXPECT_EQ(links.orders.size(), 1U);
    moved(0);
    ASSERT_EQ(links.orders.size(), 2U);
    EXPECT_EQ(links.orders[1].first, 2);
    EXPECT_EQ(links.orders[1].second.to(), 3U);
    EXPECT_FALSE(links.told.contains(name)) << "the hello waits";
    moved(1);
    EXPECT_EQ(links.told[name], 3U);
}

/// The drain was ended while a session of it was under way, and the client came at once.
TEST_F(MovesTest, WhatHasJustLeftIsFetchedBack) {
    const SessionName name = name_of(1);
    moves.drain(1, 2, name, "www", kNow);
    pull(1, name);
    EXPECT_THAT(links.pulled, IsEmpty()) << "it is not there, though the directory knows of no other place";
    moved(0);
    ASSERT_EQ(links.orders.size(), 2U);
    EXPECT_EQ(links.orders[1].first, 2);
    moved(1);
    EXPECT_THAT(links.pulled, ElementsAre(chassis::MOVED));
}

/// Home it is in no directory, and whoever asks again must not look where it was.
TEST_F(MovesTest, WhatArrivesAtHomeIsMovedOnFromThere) {
    const SessionName name = name_of(2);
    announce(3, name);
    request(name, 3, 2);
    pull(3, name);
    request(name, 3, 1);
    moved(0);
    ASSERT_EQ(links.orders.size(), 2U);
    EXPECT_EQ(links.orders[1].first, 2);
    EXPECT_EQ(links.orders[1].second.to(), 3U);
    moved(1);
    EXPECT_THAT(links.pulled, ElementsAre(chassis::MOVED));
    ASSERT_EQ(links.orders.size(), 3U);
    EXPECT_EQ(links.orders[2].first, 3);
    EXPECT_EQ(links.orders[2].second.to(), 1U);
}

TEST_F(MovesTest, WhoGaveUpWaitingTakesItFromNobody) {
    const SessionName name = name_of(1);
    request(name, 1, 2);
    pull(3, name);
    moved(0, kNow + kPatience + 1us);
    EXPECT_EQ(links.orders.size(), 1U);
    EXPECT_THAT(links.pulled, ElementsAre(chassis::UNREACHABLE));
}

TEST_F(MovesTest, AMoveThatDoesNotBeginIsNoNews) {
    const SessionName name = name_of(2);
    announce(3, name);
    moves.drain(3, 2, name, "www", kNow);
    moved(0);
    request(name, 2, 1);
    moves.agent_lost(2);
    moves.tick(kNow);
    EXPECT_EQ(links.told[name], 2U) << "the dataplane hears that it is at home";
}

TEST_F(MovesTest, WhoWaitsForWhatGetsLostHearsOfIt) {
    const SessionName name = name_of(1);
    moves.drain(1, 2, name, "www", kNow);
    pull(3, name);
    not_found(0, chassis::USED_UP);
    EXPECT_THAT(links.pulled, ElementsAre(chassis::NOT_FOUND));
}

TEST_F(MovesTest, TheTargetHearsOfItWithTheOrder) {
    request(name_of(1), 1, 3);
    ASSERT_EQ(links.announced.size(), 1u);
    const auto& [target, expect] = links.announced[0];
    EXPECT_EQ(target, 3u);
    EXPECT_EQ(expect.order_id(), links.orders[0].second.order_id());
    EXPECT_EQ(expect.name(), bytes_of(name_of(1)));
    EXPECT_EQ(expect.from(), 1u);
    EXPECT_THAT(expect.services(), ElementsAre("www"));
    EXPECT_EQ(expect.receipt(), fmt::format("3 {}", expect.order_id()));
    EXPECT_THAT(links.orders[0].second.services(), ElementsAre("www"));
}

/// Blade 4 serves something else, blade 3 both.
TEST_F(MovesTest, BothBladesMustServeIt) {
    Config more = *config();
    more.blades[4].id = 4;
    auto& mail = more.services.emplace_back();
    mail.name = "mail";
    mail.blades = {3, 4};
    moves.configure(std::make_shared<const Config>(std::move(more)));
    EXPECT_FALSE(moves.may_move(4, 3, "www")) << "the sender does not serve it";
    EXPECT_FALSE(moves.may_move(1, 4, "www"));
    EXPECT_FALSE(moves.may_move(1, 4, "")) << "there is no service that both serve";
    EXPECT_TRUE(moves.may_move(4, 3, ""));
    EXPECT_TRUE(moves.may_move(3, 4, "mail"));
    EXPECT_FALSE(moves.may_move(3, 4, "no such"));
    moves.drain(4, 3, name_of(4), "", kNow);
    ASSERT_EQ(links.orders.size(), 1u);
    EXPECT_THAT(links.orders[0].second.services(), ElementsAre("mail"));
    EXPECT_THAT(links.announced[0].second.services(), ElementsAre("mail"));
}

// --- announcements

TEST_F(MovesTest, WhatNoOrderBroughtThereIsAnnouncedInVain) {
    chassis::Announce message;
    for (uint8_t i = 0; i < 200; i++) {
        auto& held = *message.add_held();
        held.set_name(bytes_of(SessionName{1, i}));
        held.set_expires_ms(unix_ms() + 3'600'000);
        held.set_receipt(i % 2 ? "3 7" : "");  // another blade's
    }
    moves.announce(2, message);
    EXPECT_EQ(moves.directory().size(), 0u);
    EXPECT_EQ(moves.orders().counters().announced_in_vain, 200u);
}

/// It kept the receipt, and the session has moved on.
TEST_F(MovesTest, AnOldReceiptDoesNotBringASessionBack) {
    announce(2, name_of(1), 5);
    announce(3, name_of(1), 9);
    EXPECT_EQ(moves.holder(name_of(1)), 3);
    announce(2, name_of(1), 5);
    EXPECT_EQ(moves.holder(name_of(1)), 3);
    EXPECT_EQ(moves.orders().counters().announced_in_vain, 1u);
}

// --- restoring

TEST_F(MovesTest, WhatWasUsedUpIsNotLookedForInARepository) {
    links.repository = true;
    moves.drain(1, 3, name_of(1), "www", kNow);
    not_found(0, chassis::USED_UP);
    EXPECT_THAT(links.restores, IsEmpty());
    EXPECT_THAT(links.drains, ElementsAre(MoveResult::not_found));
}

TEST_F(MovesTest, WhoseEndIsKnownIsSaidToTheRepository) {
    links.repository = true;
    request(name_of(1), 1, 3);
    not_found(0, chassis::NOT_USED, 17);
    request(name_of(2), 2, 3);
    not_found(1, chassis::UNKNOWN, 18);
    ASSERT_EQ(links.restores.size(), 2u);
    EXPECT_EQ(links.restores[0].second.blade, 1u);
    EXPECT_EQ(links.restores[0].second.epoch, 17u);
    EXPECT_EQ(links.restores[1].second.blade, 0u);
}

// --- purges

TEST_F(MovesTest, WhatIsUnderWayDuringAPurgeIsNowhere) {
    request(name_of(1), 1, 3);
    const uint64_t number = moves.purge(Purged{}, kNow);
    EXPECT_GT(number, links.orders[0].second.order_id());
    moved(0);
    EXPECT_EQ(moves.directory().size(), 0u) << "its target destroys it";
    EXPECT_FALSE(links.told.contains(name_of(1)));
    request(name_of(1), 1, 2);
    EXPECT_GT(links.orders[1].second.order_id(), number);
    moved(1);
    EXPECT_EQ(moves.holder(name_of(1)), 2) << "made after it";
}

/// It does not know of the purge yet: nothing of what is meant comes from there, and nothing of it counts.
TEST_F(MovesTest, WhoHasNotPurgedGivesNothingAway) {
    links.purged_blade = 1;
    links.purged = Purged{std::nullopt, ServiceId::of("www")};
    moves.drain(1, 3, name_of(1), "www", kNow);
    moves.drain(1, 3, name_of(1), "", kNow);
    EXPECT_THAT(links.orders, IsEmpty());
    EXPECT_THAT(links.drains, ElementsAre(MoveResult::unreachable, MoveResult::unreachable));
    announce(1, name_of(2));
    EXPECT_EQ(moves.directory().size(), 0u);
    request(name_of(2), 2, 1);
    EXPECT_EQ(links.orders.size(), 1u) << "newer ones may come";
    links.purged_blade = 0;
    moves.drain(1, 3, name_of(1), "www", kNow);
    EXPECT_EQ(links.orders.size(), 2u);
    announce(1, name_of(2));
    EXPECT_EQ(moves.directory().size(), 1u);
}

TEST_F(MovesTest, APurgeOfAServiceLeavesTheOthersInTheDirectory) {
    chassis::Announce message;
    for (uint8_t i = 0; i < 3; i++) {
        auto& held = *message.add_held();
        held.set_name(bytes_of(SessionName{1, i}));
        held.set_expires_ms(unix_ms() + 3'600'000);
        held.set_receipt("2 1");
        held.set_service_id(ServiceId::of(i == 0 ? "mail" : i == 1 ? "www" : "").number());
    }
    moves.announce(2, message);
    moves.purge(Purged{std::nullopt, ServiceId::of("www")}, kNow);
    EXPECT_TRUE(moves.directory().find(SessionName{1, 0}, 0));
    EXPECT_FALSE(moves.directory().find(SessionName{1, 1}, 0));
    EXPECT_FALSE(moves.directory().find(SessionName{1, 2}, 0)) << "nobody knows, so it may be";
}

TEST_F(MovesTest, AnOrderTellsTheLatestStateUnlessItIsTheEnd) {
    const LatestState state{5, {7}, false}, gone{6, {}, true};
    links.known = &state;
    moves.drain(1, 3, name_of(1), "www", kNow);
    links.known = &gone;
    moves.drain(2, 3, name_of(2), "www", kNow);
    ASSERT_EQ(links.orders.size(), 2u);
    EXPECT_EQ(links.orders[0].second.floor_uses(), 5u);
    EXPECT_EQ(links.orders[0].second.floor_digest()[0], 7);
    EXPECT_EQ(links.orders[1].second.floor_digest(), "");
}

}  // namespace
}  // namespace keyrail
