// SPDX-License-Identifier: Apache-2.0
// What happens in a step: what a message does, what an agent or the operator does, what breaks.
#include "control/agent/store_questions.h"
#include "tests/support/blade_ids.h"
#include "tests/unit/moves_explorer/impl.h"

namespace keyrail::testing {

// --- what a message does

void Explorer::Impl::to_agent(World& world, size_t self, const chassis::Envelope& message) {
    Checkpointer& checkpointer = *world.checkpointers[self];
    Store& store = *environment.stores[self];
    if (message.has_order()) world.movers[self]->order(message.order(), kNow);
    if (message.has_expect()) world.receivers[self]->expect(message.expect(), kNow);
    if (message.has_stale()) (void)checkpointer.destroy(message.stale());
    if (message.has_checkpoint_ack()) checkpointer.acknowledged(message.request());
    if (message.has_pull_reply()) world.answers[message.request()]++;
    if (message.has_restore()) {
        Restorer restorer(store, checkpointer, environment.names, environment.fences[self], id_of(self));
        environment.report(self, restorer.restore(message.restore()));
    }
    if (!message.has_purge()) return;
    Fences none;
    const bool fenced = environment.mistake != Mistake::a_purge_has_no_fence;
    world.wires[self].back.push_back(
        answer_question(store, environment.served, fenced ? environment.fences[self] : none, message));
    world.purged[self].push_back(message.purge().number());
}

void Explorer::Impl::to_keyraild(World& world, size_t from, const chassis::Envelope& message) {
    if (message.has_move_done()) world.moves->done(id_of(from), message.move_done(), kNow);
    if (message.has_announce()) world.moves->announce(id_of(from), message.announce());
    if (message.has_checkpoint())
        world.checkpoints->checkpoint(id_of(from), message.checkpoint(), message.request());
    if (message.has_pull()) world.moves->pull(id_of(from), message.request(), message.pull(), kNow);
    if (message.has_purge_reply()) world.purges->answered(id_of(from), message.request());
}

/// `from`: whose connection it is. It brings transfers, and answers.
void Explorer::Impl::to_peer(World& world, size_t from, const chassis::Envelope& message) {
    Receiver& receiver = *world.receivers[1 - from];
    const bool mistaken = environment.mistake == Mistake::every_transfer_is_new;
    const auto announced = Inspect::announced(receiver);
    if (mistaken) Inspect::forget_transfers(receiver);
    if (auto ack = receiver.receive(id_of(from), message.request(), message.transfer(), kNow))
        environment.answer(from, message.request(), std::move(*ack));
    if (mistaken) Inspect::announce_again(receiver, announced);
}

void Explorer::Impl::deliver(World& world, size_t wire, bool there, const chassis::Envelope& message) {
    if (wire < 2) return there ? to_agent(world, wire, message) : to_keyraild(world, wire, message);
    if (there) return to_peer(world, wire - 2, message);
    world.movers[wire - 2]->acknowledged(id_of(3 - wire), message.request(), message.transfer_ack(), kNow);
}

// --- what an agent, or the operator, does

/// The first word on a new connection was said by connect().
void Explorer::Impl::announce(World& world, size_t self) {
    world.announcing[self] = false;
    auto& announce = *world.wires[self].back.emplace_back().mutable_announce();
    announce.set_done(true);
    Store::Cursor cursor;
    while (!cursor.done()) {
        for (const SessionInfo& info : environment.stores[self]->list(cursor, Store::Which::kMovedIn, 100)) {
            auto& held = *announce.add_held();
            held.set_name(bytes_of(info.name));
            held.set_expires_ms(info.expires_ms);
            held.set_receipt(info.receipt.data(), info.receipt.size());
        }
    }
    if (!environment.repository) return;
    if (environment.mistake == Mistake::gone_is_told_once) Inspect::forget_told(*world.checkpointers[self]);
    world.checkpointers[self]->start_over();
}

void Explorer::Impl::tell(World& world, size_t self) {
    environment.read_journal(world, self);
    chassis::Envelope message;
    uint64_t number = 0;
    if (!world.checkpointers[self]->next(*message.mutable_checkpoint(), number, kMuchLater)) return;
    message.set_request(number);
    world.wires[self].back.push_back(std::move(message));
}

void Explorer::Impl::purge(World& world) {
    chassis::Purge message;
    message.set_all(true);
    message.set_number(world.moves->purge(Purged{}, kNow));
    (void)world.purges->add(message, 0);
    world.purge_asked = true;
    if (environment.repository && environment.mistake != Mistake::a_purge_spares_the_repository)
        world.tasks.push_back({RepositoryTask::Kind::clear, "", message.number(), {}});
    else
        world.purges->answered(Purges::kRepositories, message.number());
    for (const BladeId blade : testing::blade_ids(2)) {
        chassis::Envelope envelope;
        envelope.set_request(message.number());
        *envelope.mutable_purge() = message;
        (void)environment.send(blade, std::move(envelope));
    }
}

// --- what breaks, and comes back

void Explorer::Impl::break_wire(World& world, size_t wire) {
    if (!world.wires[wire].open) return;
    world.wires[wire] = {false, {}, {}};
    if (wire < 2) {
        world.announcing[wire] = false;
        world.moves->agent_lost(id_of(wire));
        return world.checkpoints->agent_lost(id_of(wire));
    }
    const size_t holder = wire - 2;
    const bool in_doubt = world.movers[holder]->under_way() > 0;
    world.movers[holder]->lost(id_of(1 - holder));
    if (environment.mistake == Mistake::put_back_when_in_doubt && in_doubt) {
        environment.record.receipt = {};
        (void)environment.stores[holder]->put(environment.record);
    }
}

/// As the agent does: the orders of the old connection are forgotten, what is not at its home is announced,
/// in several messages. And keyraild: what was purged meanwhile is said.
void Explorer::Impl::connect(World& world, size_t wire) {
    world.wires[wire].open = true;
    if (wire >= 2) return world.movers[wire - 2]->poll(kNow);
    world.movers[wire]->forget();
    world.wires[wire].back.emplace_back().mutable_announce()->set_reset(true);
    world.announcing[wire] = true;
    if (!environment.in_pieces) announce(world, wire);
    for (const chassis::Purge& purge : world.purges->of(id_of(wire))) {
        auto& message = world.wires[wire].there.emplace_back();
        message.set_request(purge.number());
        *message.mutable_purge() = purge;
    }
}

void Explorer::Impl::crash_agent(World& world, size_t self) {
    environment.start_agent(world, self);
    environment.fences[self] = {};
    Inspect::journal(*world.checkpointers[self]) = environment.cursors[self];
    for (const size_t wire : {self, size_t{2}, size_t{3}}) break_wire(world, wire);
}

void Explorer::Impl::crash_keyraild(World& world) {
    for (size_t i = 0; i < 2; i++) {
        world.wires[i] = {false, {}, {}};
        world.announcing[i] = false;
    }
    environment.start_keyraild(world);
    world.forgetful = true;
}

void Explorer::Impl::cut_off(World& world, size_t self) {
    world.cut[self] = true;
    for (const size_t wire : {self, size_t{2}, size_t{3}}) break_wire(world, wire);
}

}  // namespace keyrail::testing
