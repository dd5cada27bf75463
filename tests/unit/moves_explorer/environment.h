// SPDX-License-Identifier: Apache-2.0
// The explorer's keyraild, agents and repository: what the real state machines talk to, and the real stores.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "chassis.pb.h"
#include "control/agent/restorer.h"
#include "control/daemon/config/config.h"
#include "link.pb.h"
#include "tests/support/session_names.h"
#include "tests/unit/moves_explorer.h"

namespace keyrail::testing {

inline constexpr Mover::Time kNow{}, kMuchLater{std::chrono::hours(1)};
inline constexpr NameKeys::Key kKey = {1, 2, 3};
inline constexpr uint64_t kOrdersPerEra = 1000;
inline constexpr uint64_t kFirstPull = 100;  // its request number
inline constexpr uint32_t kGeneration = 1;

inline BladeId id_of(size_t index) { return BladeId::or_none(index + 1); }
inline size_t index_of(BladeId blade) { return blade - 1u; }

class OneKey : public SealingKeys {
  public:
    [[nodiscard]] Current current(const std::string&) const override { return {kGeneration, &key_}; }
    [[nodiscard]] const SealingKey* find(const std::string&, uint32_t) const override { return &key_; }

  private:
    SealingKey key_{PoolKeyBytes()};
};

/// What the state machines talk to: it acts on the world that is being stepped. The stores are real; what is
/// in them is put there before each step, and noted after it.
class Environment : public MoveHost, public CheckpointHost, public SealedSessions {
  public:
    Environment(const Troubles& troubles, Mistake mistake_in)
        : mistake(mistake_in), repository(troubles.repository), in_pieces(troubles.in_pieces) {
        names.set(0, kKey);
        served.add("www", 443);
        if (repository) sealed.insert("www");
        fill(record, 1, 100);
        record.name = name;
        record.port = 443;
        record.service = ServiceId::of("www");
        record.single_use = !troubles.reusable;
        record.early_data_spent = false;
        record.digest = {};
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3'600'000;
    }

    // --- keyraild's ---
    [[nodiscard]] std::optional<BladeId> home(const SessionName& of) const override { return names.home(of); }
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& of) const override {
        return now->moves->holder(of);
    }
    [[nodiscard]] bool under_way(const SessionName& of) const override {
        return now->moves->orders().under_way(of);
    }
    [[nodiscard]] bool connected(BladeId blade) const override { return now->wires[index_of(blade)].open; }
    [[nodiscard]] bool dead(BladeId blade) const override { return now->cut[index_of(blade)]; }
    Result<void> send(BladeId blade, chassis::Envelope message) override {
        if (!connected(blade)) return fail("not connected");
        now->wires[index_of(blade)].there.push_back(std::move(message));
        return {};
    }
    void send(link::ToDataplane message) override {
        if (message.has_move_outcome()) now->answers[message.move_outcome().move_id()]++;
    }
    void drained(BladeId, MoveResult) override {}
    [[nodiscard]] const LatestState* latest(const SessionName& of) const override {
        return now->checkpoints->latest(of);
    }
    bool restore(const MoveOrder& order, const NotUsed& known) override {
        if (mistake != Mistake::the_dead_are_believed || known.blade != 0)
            return now->checkpoints->restore(order, known);
        return now->checkpoints->restore(order,
                                         {order.from, now->checkpointers[index_of(order.from)]->epoch()});
    }
    void restored(const MoveOrder& order) override { now->checkpoints->restored(order); }
    void not_restored(uint64_t order_id) override { now->moves->not_restored(order_id, kNow); }
    std::string receipt(const SessionName&, BladeId blade, uint64_t order) override {
        std::string made(16, '\0');
        for (size_t i = 0; i < sizeof order; i++) made[i] = static_cast<char>(order >> 8 * (7 - i));
        std::memcpy(made.data() + sizeof order, &blade, sizeof blade);
        return made;
    }
    std::optional<uint64_t> order_in(const std::string& shown, const SessionName& of,
                                     BladeId blade) override {
        uint64_t order = 0;
        for (size_t i = 0; shown.size() == 16 && i < sizeof order; i++)
            order = order << 8 | static_cast<uint8_t>(shown[i]);
        return shown == receipt(of, blade, order) ? std::optional(order) : std::nullopt;
    }
    [[nodiscard]] bool purging(BladeId blade, const SessionName& of, ServiceId) const override {
        return now->purges->purging(blade, of, {});
    }

    // --- the repository's ---
    [[nodiscard]] bool keeps(const std::string&) const override { return repository; }
    void keep(const std::string&, RepositoryChange change) override {
        now->tasks.push_back({RepositoryTask::Kind::keep, change.sealed, 0, {}});
    }
    void forget(const SessionName&, uint64_t ticket) override {
        if (!repository) return now->checkpoints->forgotten(ticket);
        now->tasks.push_back({RepositoryTask::Kind::forget, "", ticket, {}});
    }
    bool retrieve(const Retrieval& retrieval) override {
        if (repository) now->tasks.push_back({RepositoryTask::Kind::retrieve, "", 0, retrieval});
        return repository;
    }
    void repository_step() {
        const RepositoryTask task = std::move(now->tasks.front());
        now->tasks.pop_front();
        const auto before = now->kept;
        if (task.kind == RepositoryTask::Kind::keep)
            now->kept = task.sealed;
        else
            now->kept.reset();
        if (task.kind == RepositoryTask::Kind::forget) now->checkpoints->forgotten(task.ticket);
        if (task.kind == RepositoryTask::Kind::clear)
            now->purges->answered(Purges::kRepositories, task.ticket);
        if (task.kind == RepositoryTask::Kind::retrieve)
            now->checkpoints->retrieved(task.retrieval, before.value_or(""));
    }

    // --- an agent's ---
    struct Agent : MoverHost {
        Environment* environment = nullptr;
        size_t self = 0;
        [[nodiscard]] bool connected(BladeId) const override {
            return environment->now->wires[2 + self].open;
        }
        Result<void> send(BladeId, chassis::Envelope message) override {
            environment->now->wires[2 + self].there.push_back(std::move(message));
            return {};
        }
        void report(chassis::MoveDone done) override { environment->report(self, std::move(done)); }
        uint64_t transfer_number() override { return ++environment->now->transfers; }
        KnownFate fate(const SessionName& name, Mover::Time) override {
            return environment->fate(self, name);
        }
        void left(const SessionRecord& session) override {
            if (environment->mistake != Mistake::what_left_is_forgotten)
                environment->now->checkpointers[self]->left(session);
        }
        void stayed(const SessionName& name) override { environment->now->checkpointers[self]->came(name); }
    };
    void report(size_t self, chassis::MoveDone done) const {
        if (!now->wires[self].open) return;
        now->wires[self].back.emplace_back();
        *now->wires[self].back.back().mutable_move_done() = std::move(done);
    }
    KnownFate fate(size_t self, const SessionName& of) {
        Checkpointer& checkpointer = *now->checkpointers[self];
        if (!repository) return {};
        if (mistake == Mistake::what_is_not_here_is_unused) return {chassis::NOT_USED, checkpointer.epoch()};
        read_journal(*now, self);
        return checkpointer.fate(of, kNow);
    }
    ReceiverEvents receiver_events(size_t self) {
        ReceiverEvents events;
        events.stored = [this, self](const SessionName& of, const Arrival&, chassis::MoveDone done) {
            now->checkpointers[self]->came(of);
            report(self, std::move(done));
        };
        events.answered = [this](BladeId from, uint64_t number, chassis::TransferAck ack) {
            answer(index_of(from), number, std::move(ack));
        };
        events.refused = [](uint16_t, const std::string&) {};
        return events;
    }
    /// `from`: whose connection it is.
    void answer(size_t from, uint64_t number, chassis::TransferAck ack) const {
        if (!now->wires[2 + from].open) return;
        chassis::Envelope& message = now->wires[2 + from].back.emplace_back();
        message.set_request(number);
        *message.mutable_transfer_ack() = std::move(ack);
    }
    /// The fences of a World are copied with it, and what uses them must use the copy: a reference to
    /// whichever is current.
    void start_agent(World& world, size_t self) {
        world.fences[self].emplace();
        world.purged[self].clear();
        world.checkpointers[self].emplace(*stores[self], served, sealed, keys, fences[self], id_of(self),
                                          ++world.epochs);
        world.movers[self].emplace(*stores[self], served, fences[self], agents[self]);
        world.receivers[self].emplace(*stores[self], served, fences[self], id_of(self), names,
                                      receiver_events(self));
        world.receivers[self]->configure({id_of(1 - self)});
        world.unread[self] = world.history[self];
        world.announcing[self] = false;
    }
    void start_keyraild(World& world) {
        world.moves.emplace(config, *this, world.era++ * kOrdersPerEra);
        world.checkpoints.emplace(config, *this, *this);
        world.tasks.clear();
        // Purges lie on the disk.
        if (!world.purges || mistake == Mistake::a_restart_forgets_purges) world.purges.emplace();
        world.moves->numbers_above(world.purges->last_number());
        for (const chassis::Purge& purge : world.purges->of(Purges::kRepositories))
            if (repository) world.tasks.push_back({RepositoryTask::Kind::clear, "", purge.number(), {}});
    }
    static ConfigPtr config_of_two();
    void read_journal(World& world, size_t self);

    void enter(World& world);
    void leave();

    Mistake mistake;
    bool repository, in_pieces;
    World* now = nullptr;
    ConfigPtr config = config_of_two();
    NameKeys names;
    ServedServices served;
    std::set<std::string> sealed;
    OneKey keys;
    const SessionName name = name_at(kKey, 0, 1, 7);
    SessionRecord record;
    std::array<TempStore, 2> stores{TempStore(1 << 20), TempStore(1 << 20)};
    std::array<Store::JournalCursor, 2> cursors;
    std::array<Fences, 2> fences;  // of the world that is being stepped
    std::array<Agent, 2> agents = {[this] {
        std::array<Agent, 2> both;
        for (size_t i = 0; i < 2; i++) {
            both[i].environment = this;
            both[i].self = i;
        }
        return both;
    }()};
};

}  // namespace keyrail::testing
