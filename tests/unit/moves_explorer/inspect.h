// SPDX-License-Identifier: Apache-2.0
// Looks into the state machines, whose friend it is: which states of the explorer are the same, and what its
// mistakes and crashes change.
#pragma once

#include <xxhash.h>

#include <string>

#include "tests/unit/moves_explorer/environment.h"

namespace keyrail::testing {

/// Reads the state machines' state: two worlds of which the same can be said go on in the same way.
struct Inspect {
    std::string text;
    template <typename... Values>
    void add(const Values&... values) {
        (text.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
    }
    void add_mover(const Mover& mover) {
        for (const Mover::Task& task : mover.waiting_)
            add('w', task.order_id, task.to, task.era == mover.era_);
        for (const auto& [number, task] : mover.sent_)
            add('s', number, task.order_id, task.to, task.era == mover.era_);
        for (const auto& [id, outcome] : mover.orders_)
            add('o', id, outcome ? static_cast<int>(outcome->result) : -1);
    }
    void add_receiver(const Receiver& receiver) {
        for (const auto& [key, outcome] : receiver.seen_)
            add('r', key.second, outcome ? outcome->has_value() + 1 : 0);
        for (const auto& [id, expected] : receiver.expected_) add('e', id, expected.from);
        for (const auto& early : receiver.early_) add('y', early.key.second, early.order_id);
    }
    void add_checkpointer(const Checkpointer& checkpointer) {
        add('c', checkpointer.epoch_, checkpointer.changed_.empty(), checkpointer.walk_.finished,
            checkpointer.left_.size(), checkpointer.last_number_, checkpointer.gone_.size());
        for (const auto& [number, told] : checkpointer.told_) add('t', number, told.gone.size());
    }
    void add_checkpoints(const Checkpoints& checkpoints, const SessionName& name) {
        const auto known = checkpoints.latest_.find(name);
        add('l', known ? known->uses : 0, known ? known->gone + 1 : 0);
        for (const auto& [blade, stale] : checkpoints.stale_) add('S', blade, stale.sessions_size());
        for (const auto& [ticket, promise] : checkpoints.promises_)
            add('P', ticket, promise.blade, promise.number, promise.left);
        add(checkpoints.last_ticket_);
    }
    /// Sealed twice, the same looks different.
    void add_sealed(const std::string& sealed) {
        chassis::SessionState state;
        if (state.ParseFromString(sealed)) add('k', state.blade(), state.epoch());
    }
    /// Transfers differ by when they were sent. A record that came lasts as long by its new blade's clock as
    /// it did by the old one's, so what is told of it differs by the milliseconds that this run took. Neither
    /// changes anything.
    void add_message(chassis::Envelope message) {
        if (message.has_move_done()) {
            message.mutable_move_done()->clear_expires_ms();
            message.mutable_move_done()->clear_times();  // what happened when
        }
        if (message.has_announce())
            for (auto& held : *message.mutable_announce()->mutable_held()) held.clear_expires_ms();
        if (message.has_transfer()) return add('T', message.request(), message.transfer().order_id());
        if (message.has_restore()) return add('R', message.restore().order_id());
        if (!message.has_checkpoint()) {
            message.AppendToString(&text);
            return;
        }
        add('C', message.request());
        for (const auto& state : message.checkpoint().sessions())
            add('s', state.gone(), state.uses(), state.blade(), state.epoch());
    }
    void add_moves(const Moves& moves, const SessionName& name) {
        for (const auto& [id, pending] : moves.orders_.orders_) {
            add('p', id, pending.order.from, pending.order.to, static_cast<int>(pending.order.source),
                pending.told);
            for (const Waiter& waiter : pending.waiters) add(waiter.id);
            for (const MoveWish& wish : pending.others) add(wish.waiter.id), add(wish.to);
        }
        for (const auto& fence : moves.fences_) add('f', fence.number);
        const auto entry = moves.directory_.find(name, 0);
        add('d', entry ? entry->holder : BladeId{}, entry ? entry->order : 0, moves.orders_.next_id_);
        if (const auto fresh = moves.fresh_.find(name); fresh != moves.fresh_.end())
            add('h', fresh->second.holder);
    }
    void add_troubles(const Troubles& left) {
        add(left.losses, left.repeats, left.breaks, left.crashes, left.restarts, left.resumes, left.pulls,
            left.purges, left.cuts);
    }
    void add_agent(const World& world, size_t i) {
        add('A', world.holds[i].has_value(), world.holds[i].value_or(MoveReceipt{}), world.announcing[i],
            world.cut[i]);
        for (const Store::Change& change : world.unread[i]) add('u', change.gone, change.receipt);
        if (world.left.crashes > 0)
            for (const Store::Change& change : world.history[i]) add('h', change.gone, change.receipt);
        for (const uint64_t number : world.purged[i]) add('n', number);
        for (const chassis::Purge& purge : world.purges->of(id_of(i))) add('N', purge.number());
        add_mover(*world.movers[i]);
        add_receiver(*world.receivers[i]);
        add_checkpointer(*world.checkpointers[i]);
    }
    /// A hash, for there are millions: that two of them collide has a chance of 1 in 10^25.
    static XXH128_hash_t of(const World& world, const SessionName& name) {
        Inspect out;
        out.add(world.used, world.transfers, world.era, world.epochs, world.asked, world.pulled,
                world.troubled, world.forgetful, world.purge_asked);
        out.add_troubles(world.left);
        for (const auto& [move, count] : world.answers) out.add('a', move, count);
        for (size_t i = 0; i < 2; i++) out.add_agent(world, i);
        out.add_moves(*world.moves, name);
        out.add_checkpoints(*world.checkpoints, name);
        out.add_sealed(world.kept.value_or(""));
        for (const RepositoryTask& task : world.tasks) {
            out.add('q', task.kind, task.ticket, task.retrieval.order.id, task.retrieval.known.blade,
                    task.retrieval.known.epoch);
            out.add_sealed(task.sealed);
        }
        for (const Wire& wire : world.wires) {
            out.add('W', wire.open);
            for (const Queue* queue : {&wire.there, &wire.back}) {
                out.add('Q');
                for (const chassis::Envelope& message : *queue) out.add_message(message);
            }
        }
        return XXH3_128bits(out.text.data(), out.text.size());
    }

    static Store::JournalCursor& journal(Checkpointer& checkpointer) { return checkpointer.journal_; }
    static void note(Checkpointer& checkpointer, const Store::Change& change) {
        checkpointer.note(change, kNow);
    }
    static bool has_more(const Checkpointer& checkpointer) {
        return !checkpointer.changed_.empty() || !checkpointer.gone_.empty() || !checkpointer.walk_.finished;
    }
    static void forget_told(Checkpointer& checkpointer) {
        checkpointer.told_.clear(), checkpointer.gone_names_.clear();
    }
    /// As one that knows nothing of what came, but everything that was announced.
    static void forget_transfers(Receiver& receiver) { receiver.seen_.clear(), receiver.order_.clear(); }
    static auto announced(const Receiver& receiver) { return receiver.expected_; }
    template <typename Expected>
    static void announce_again(Receiver& receiver, const Expected& expected) {
        receiver.expected_.insert(expected.begin(), expected.end());
    }
};

}  // namespace keyrail::testing
