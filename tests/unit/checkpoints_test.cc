// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of what agents tell: what is kept, what may be restored, when an end is acknowledged.
#include "control/daemon/moves/checkpoints.h"

#include <gmock/gmock.h>

#include "dataplane/common/name_bytes.h"

namespace keyrail {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kEpoch = 33;

/// The first byte of a name says whose it is; the repository answers when it is told to.
class Around : public CheckpointHost, public SealedSessions {
  public:
    Result<void> send(BladeId blade, chassis::Envelope message) override {
        sent.emplace_back(blade, std::move(message));
        return {};
    }
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const override {
        return BladeId::from(name[0]);
    }
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& name) const override {
        const auto moved = directory.find(name);
        return moved != directory.end() ? moved->second : home(name);
    }
    [[nodiscard]] bool under_way(const SessionName&) const override { return false; }
    [[nodiscard]] bool dead(BladeId blade) const override { return blade == dead_blade; }
    void not_restored(uint64_t order_id) override { missed.push_back(order_id); }
    std::string receipt(const SessionName&, BladeId blade, uint64_t) override {
        return "receipt of " + std::to_string(blade);
    }
    std::optional<uint64_t> order_in(const std::string& shown, const SessionName& name,
                                     BladeId blade) override {
        return shown == receipt(name, blade, 0) ? std::optional<uint64_t>(1) : std::nullopt;
    }
    [[nodiscard]] bool purging(BladeId blade, const SessionName&, ServiceId) const override {
        return blade == purged_blade;
    }
    [[nodiscard]] bool keeps(const std::string&) const override { return true; }
    void keep(const std::string&, RepositoryChange change) override { kept[change.name] = change.sealed; }
    void forget(const SessionName& name, uint64_t ticket) override {
        kept.erase(name);
        tickets.push_back(ticket);
    }
    bool retrieve(const Retrieval& retrieval) override {
        asked.push_back(retrieval);
        return true;
    }
    [[nodiscard]] std::vector<chassis::Envelope> of(chassis::Envelope::BodyCase kind) const {
        std::vector<chassis::Envelope> found;
        for (const auto& [blade, message] : sent)
            if (message.body_case() == kind) found.push_back(message);
        return found;
    }

    std::vector<std::pair<BladeId, chassis::Envelope>> sent;
    std::map<SessionName, BladeId> directory;
    std::map<SessionName, std::string> kept;
    std::vector<uint64_t> tickets, missed;
    std::vector<Retrieval> asked;
    BladeId dead_blade = 0, purged_blade = 0;
};

class CheckpointsTest : public ::testing::Test {
  protected:
    static constexpr SessionName kName{1, 7};

    static ConfigPtr config() {
        Config made;
        for (const BladeId id : {BladeId{1}, BladeId{2}, BladeId{3}}) made.blades[id].id = id;
        auto& service = made.services.emplace_back();
        service.name = "www";
        service.blades = {1, 2};
        return std::make_shared<const Config>(std::move(made));
    }
    static chassis::SessionState state(bool single_use = true, BladeId by = 1) {
        chassis::SessionState made;
        made.set_name(bytes_of(kName));
        made.set_digest(std::string(32, 'd'));
        made.set_expires_ms(unix_ms() + 1'000'000);
        made.set_service("www");
        made.set_sealed("sealed");
        made.set_single_use(single_use);
        made.set_blade(by);
        made.set_epoch(kEpoch);
        return made;
    }
    void tell(BladeId blade, const chassis::SessionState& what, uint64_t number = 0) {
        chassis::Checkpoint message;
        *message.add_sessions() = what;
        checkpoints.checkpoint(blade, message, number);
    }
    void tell_gone(BladeId blade, const std::string& receipt = "", uint64_t number = 0) {
        chassis::SessionState gone;
        gone.set_name(bytes_of(kName));
        gone.set_gone(true);
        gone.set_receipt(receipt);
        tell(blade, gone, number);
    }
    /// Is it sent to blade `to`?
    bool restored(const NotUsed& known, BladeId from = 1, BladeId to = 2) {
        const std::string stored = around.kept[kName];
        MoveOrder order;
        order.id = 5;
        order.name = kName;
        order.from = from;
        order.to = to;
        order.service = "www";
        const size_t before = around.of(chassis::Envelope::kRestore).size();
        EXPECT_TRUE(checkpoints.restore(order, known));
        checkpoints.retrieved(around.asked.back(), stored);
        return around.of(chassis::Envelope::kRestore).size() > before;
    }

    Around around;
    Checkpoints checkpoints{config(), around, around};
};

TEST_F(CheckpointsTest, ASingleUseSessionOnlyIfItIsKnownThatNobodyUsedIt) {
    tell(1, state());
    ASSERT_THAT(around.kept, SizeIs(1));
    EXPECT_FALSE(restored({})) << "nobody knows";
    EXPECT_FALSE(restored({1, kEpoch + 1})) << "something was missed since it was told";
    EXPECT_FALSE(restored({2, kEpoch})) << "another blade told of it last";
    EXPECT_TRUE(restored({1, kEpoch}));
    around.dead_blade = 1;
    EXPECT_FALSE(restored({})) << "its holder is dead";
}

TEST_F(CheckpointsTest, AReusableOneAlsoFromTheDeadButNotFromUnderTheLiving) {
    tell(1, state(false));
    EXPECT_TRUE(restored({}));
    around.dead_blade = 1;
    EXPECT_TRUE(restored({}));
    around.dead_blade = 0;
    EXPECT_FALSE(restored({}, 2, 2)) << "blade 1 told of it last, and is alive";
    EXPECT_FALSE(restored({}, 1, 3)) << "which does not serve it";
    EXPECT_EQ(around.of(chassis::Envelope::kRestore)[0].restore().receipt(), "receipt of 2");
}

/// The blade was taken for dead, and told of its sessions before the restored one had arrived.
TEST_F(CheckpointsTest, WhatWasRestoredMeanwhileIsACopyAtTheBladeThatIsBack) {
    tell(1, state(false));
    MoveOrder order;
    order.name = kName;
    order.from = 1;
    order.to = 2;
    around.directory[kName] = 2;
    checkpoints.restored(order);
    ASSERT_THAT(around.of(chassis::Envelope::kStale), SizeIs(1));
    EXPECT_EQ(around.sent.back().first, 1u);
    EXPECT_EQ(around.sent.back().second.stale().sessions(0).name(), bytes_of(kName));
}

TEST_F(CheckpointsTest, WhoOnceHadItMaySayThatItIsGone) {
    tell(1, state());
    around.directory[kName] = 2;
    tell_gone(3);
    tell_gone(3, "receipt of 2");
    EXPECT_THAT(around.kept, SizeIs(1)) << "it never had it";
    tell_gone(1);
    EXPECT_THAT(around.kept, IsEmpty()) << "its home";
    around.directory.clear();  // as after a restart of keyraild
    Checkpoints fresh{config(), around, around};
    checkpoints = fresh;
    tell(1, state());
    ASSERT_THAT(around.kept, SizeIs(1));
    tell_gone(2, "receipt of 2");
    EXPECT_THAT(around.kept, IsEmpty()) << "it came there by an order";
    EXPECT_TRUE(checkpoints.latest(kName)->gone);
}

TEST_F(CheckpointsTest, AnEndIsAcknowledgedWhenNothingIsInARepository) {
    tell_gone(1, "", 77);
    ASSERT_THAT(around.tickets, SizeIs(1));
    EXPECT_THAT(around.of(chassis::Envelope::kCheckpointAck), IsEmpty());
    checkpoints.forgotten(around.tickets[0]);
    ASSERT_THAT(around.of(chassis::Envelope::kCheckpointAck), SizeIs(1));
    EXPECT_EQ(around.of(chassis::Envelope::kCheckpointAck)[0].request(), 77u);
    tell_gone(3, "", 78);
    EXPECT_THAT(around.of(chassis::Envelope::kCheckpointAck), SizeIs(2))
        << "not its to say: it need not repeat it";
    tell_gone(1, "", 1);
    checkpoints.agent_lost(1);
    checkpoints.forgotten(around.tickets.back());
    EXPECT_THAT(around.of(chassis::Envelope::kCheckpointAck), SizeIs(2)) << "to another connection";
}

TEST_F(CheckpointsTest, WhatABladeSaysBeforeItHasPurgedIsNotKept) {
    around.purged_blade = 1;
    tell(1, state());
    EXPECT_THAT(around.kept, IsEmpty());
    around.purged_blade = 0;
    tell(1, state());
    EXPECT_THAT(around.kept, SizeIs(1));
}

TEST_F(CheckpointsTest, NobodySealsInTheNameOfAnother) {
    tell(1, state(true, 2));
    EXPECT_THAT(around.kept, IsEmpty());
}

/// It could fill the repository.
TEST_F(CheckpointsTest, NothingIsKeptOfNamesThatAreMadeUpOrOfServicesOfOthers) {
    chassis::SessionState odd = state();
    odd.set_name(bytes_of(SessionName{0, 7}));
    tell(1, odd);
    EXPECT_THAT(around.kept, IsEmpty());
    odd = state(true, 3);
    odd.set_name(bytes_of(SessionName{3, 7}));
    tell(3, odd);
    EXPECT_THAT(around.kept, IsEmpty()) << "it does not serve www";
    tell(1, state());
    EXPECT_THAT(around.kept, SizeIs(1));
}

TEST_F(CheckpointsTest, NonsenseIsNotHeard) {
    chassis::SessionState odd = state();
    odd.set_name("short");
    tell(1, odd);
    odd = state();
    odd.set_digest("short");
    tell(1, odd);
    odd.set_gone(true);
    odd.set_name("");
    tell(1, odd, 9);
    EXPECT_THAT(around.kept, IsEmpty());
    EXPECT_THAT(around.of(chassis::Envelope::kCheckpointAck), SizeIs(1));
    tell(1, state());
    around.kept[kName] = "nonsense";
    EXPECT_FALSE(restored({1, kEpoch}));
    EXPECT_THAT(around.missed, ElementsAre(5));
}

}  // namespace
}  // namespace keyrail
