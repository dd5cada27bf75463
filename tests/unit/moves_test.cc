// SPDX-License-Identifier: Apache-2.0
// What Moves makes of wishes; every interleaving of what follows is the explorer's (moves_explorer_test.cc).
#include "control/daemon/moves/moves.h"

#include <gmock/gmock.h>

#include "chassis.pb.h"
#include "dataplane/common/name_bytes.h"
#include "link.pb.h"

namespace keyrail {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Moves::Time kNow{hours(1)};

/// Every blade is there; the first byte of a name says whose it is.
class Links : public MoveHost {
  public:
    [[nodiscard]] std::optional<uint16_t> home(const SessionName& name) const override {
        return static_cast<uint16_t>(bytes_of(name)[0]);
    }
    [[nodiscard]] bool connected(uint16_t) const override { return true; }
    Result<void> send(uint16_t blade, chassis::Envelope message) override {
        if (message.has_order()) orders.emplace_back(blade, message.order());
        return {};
    }
    void send(link::ToDataplane message) override {
        for (const link::MovedEntry& entry : message.moved_entries().entries())
            told[*name_from(entry.name())] = entry.holder();
        if (message.move_outcome().has_now())
            told[*name_from(message.move_outcome().now().name())] = message.move_outcome().now().holder();
    }
    void drained(uint16_t, MoveResult result) override { drains.push_back(result); }
    [[nodiscard]] const LatestState* latest(const SessionName&) const override { return known; }
    [[nodiscard]] bool dead(uint16_t) const override { return false; }
    [[nodiscard]] bool keeps(const std::string&) const override { return false; }
    bool restore(const MoveOrder&) override { return false; }

    std::vector<std::pair<uint16_t, chassis::Order>> orders;
    std::vector<MoveResult> drains;
    const LatestState* known = nullptr;
    std::map<SessionName, uint32_t> told;  // the dataplane: where sessions are
};

class MovesTest : public ::testing::Test {
  protected:
    static ConfigPtr config() {
        Config made;
        for (const uint16_t id : {uint16_t{1}, uint16_t{2}, uint16_t{3}}) made.blades[id].id = id;
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
    void announce(uint16_t blade, const SessionName& name) {
        chassis::Announce message;
        message.add_held()->set_name(bytes_of(name));
        message.mutable_held(0)->set_expires_ms(unix_ms() + 3'600'000);
        moves.announce(blade, message);
    }

    /// The target of that order says so.
    void moved(size_t order) {
        ASSERT_GT(links.orders.size(), order);
        chassis::MoveDone message;
        message.set_order_id(links.orders[order].second.order_id());
        message.set_result(chassis::MOVED);
        moves.done(static_cast<uint16_t>(links.orders[order].second.to()), message, kNow);
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
