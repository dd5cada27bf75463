// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steer/steer.h"

#include <rte_ring_elem.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "dataplane/bind/release.h"
#include "dataplane/tables/moved_table.h"

namespace keyrail::steer {
namespace {

/// Who has the sessions of all these hellos: one look into the moved table, which gets its memory meanwhile.
void find_holders(std::span<PendingHello> hellos, const Context& context) {
    std::array<const SessionName*, kBurst> names;
    std::array<uint16_t, kBurst> holders;
    std::array<PendingHello*, kBurst> named;
    size_t count = 0;
    for (PendingHello& hello : hellos) {
        for (uint8_t i = 0; i < hello.name_count; i++) {
            if (hello.homes[i] == 0) continue;  // not ours, so nobody moved it either
            hello.holder = {hello.homes[i], i, false};
            named[count] = &hello;
            names[count++] = &hello.names[i];
            break;
        }
    }
    if (count == 0) return;
    context.shared.moved->find(std::span(names).first(count), context.clock.unix_s, holders);
    for (size_t i = 0; i < count; i++) {
        if (holders[i] == 0) continue;
        named[i]->holder.blade = holders[i];
        named[i]->holder.moved = true;
    }
}

bool in_pool(const Pool& pool, uint16_t blade) { return std::ranges::binary_search(pool.blades, blade); }

/// A quarter of the scale: a smaller difference is noise, and whoever follows noise starves a blade.
constexpr uint32_t kLoadMargin = 16384;

/// Maglev's first candidate, or its second where that is clearly less loaded.
uint16_t pick(const Maglev& ring, uint64_t hash, const Snapshot& snapshot) {
    const uint16_t a = ring.at(hash), b = ring.second(hash);
    return snapshot.blades[b].load + kLoadMargin < snapshot.blades[a].load ? b : a;
}

uint64_t name_hash(const SessionName& name) {  // its tail is random: no hashing needed
    uint64_t hash = 0;
    std::memcpy(&hash, &name[kSessionNameSize - sizeof hash], sizeof hash);
    return hash;
}

// --- moves

constexpr unsigned kSlotBits = 32;
constexpr unsigned kWorkerShift = 56;

uint64_t make_move_id(uint16_t worker, uint32_t slot, uint32_t generation) {
    return uint64_t{worker} << kWorkerShift | uint64_t{generation} << kSlotBits | slot;
}

/// The hello must wait in a hold. One that came in a single packet gets its hold here.
uint32_t hold_for(const PendingHello& hello, Burst& burst, Context& context) {
    if (hello.hold != kNone) return hello.hold;
    Packet& packet = burst.packets[hello.packet];
    const uint32_t slot = bind::open_hold(packet, packet.h.seq, context);
    if (slot == kNone) return kNone;
    context.holds_table.at(slot).bound = hello.bound;
    packet.decide(Action::hold, Reason::hello_rest);
    return slot;
}

/// Puts the question to the control thread. False when its queue is full.
bool ask(MoveAsk question, Context& context) {
    rte_ring* ring = context.shared.asks[context.worker];
    if (rte_ring_enqueue_elem(ring, &question, sizeof question) != 0) return false;
    context.stats.moves_asked.add();
    context.wake_control = true;
    return true;
}

/// Starts the move and parks the hello. False: it cannot be parked or asked for; steer it at once.
bool start_move(PendingHello& hello, const Holder& holder, uint16_t to, Burst& burst, Context& context) {
    const uint32_t slot = hold_for(hello, burst, context);
    if (slot == kNone) return false;
    const Hold& hold = context.holds_table.at(slot);
    const Service& service = context.service(hello.service);
    const uint32_t budget = service.hold_budget(hello.tls_version);
    hello.hold = slot;
    hello.packet = kNone;
    const MoveAsk question{.move_id = make_move_id(context.worker, slot, hold.generation),
                           .name = hello.names[holder.name],
                           .from = holder.blade,
                           .to = to,
                           .service = service.id,
                           .tls_version = hello.tls_version,
                           .budget_us = budget};
    if (!ask(question, context)) return false;
    context.holds_table.start_moving(slot, to, context.clock.us + budget);
    hello.moving = true;
    return true;
}

// --- the decision

/// Why the session of this hello cannot leave its holder; nullopt: it can be asked for.
std::optional<Reason> immovable(const PendingHello& hello, const Holder& holder, const Context& context) {
    const Service& service = context.service(hello.service);
    if (!service.content_moves && !in_pool(context.snapshot->pools[hello.pool], holder.blade))
        return Reason::steer_content;
    if (service.hold_budget(hello.tls_version) == 0) return Reason::steer_not_worth;
    if (!context.shared.control_connected.load(std::memory_order_relaxed)) return Reason::steer_no_control;
    return std::nullopt;
}

/// The blade for a client whose session is with `holder`, or with nobody (0): then who can open its ticket.
uint16_t choose(const PendingHello& hello, const Holder& holder, const Context& context) {
    const Snapshot& snapshot = *context.snapshot;
    const Pool& pool = snapshot.pools[hello.pool];
    if (hello.bound != 0) return hello.bound;
    const uint16_t has_keys = holder.blade != 0 ? holder.blade : hello.opener;
    const BladeState state = in_pool(pool, has_keys) ? snapshot.blades[has_keys].state : BladeState::unknown;
    if (state == BladeState::up) return has_keys;
    if (pool.ring.empty()) return 0;
    // By the name, not the connection: a client that opens six connections at once gets one move, to one
    // blade.
    const uint64_t hash = holder.blade != 0 ? name_hash(hello.names[holder.name]) : hello.hash;
    const uint16_t other = pick(pool.ring, hash, snapshot);
    if (state >= snapshot.blades[other].state) return has_keys;  // nobody is better off
    // A full handshake elsewhere would cost the chassis more than a resumption on a blade that is full.
    if (state == BladeState::overloaded && (holder.blade == 0 || immovable(hello, holder, context)))
        return has_keys;
    return other;
}

void decide(PendingHello& hello, Burst& burst, Context& context) {
    const Holder& holder = hello.holder;
    hello.blade = choose(hello, holder, context);
    hello.reason = hello.unnamed;
    if (hello.blade == 0) return;
    if (holder.blade == 0) {
        if (hello.blade == hello.opener) hello.reason = Reason::steer_ticket;
        return;
    }
    if (hello.blade == holder.blade) {
        hello.reason = holder.moved ? Reason::steer_moved : Reason::steer_home;
        return;
    }
    const bool holder_down = context.snapshot->blades[holder.blade].state <= BladeState::down;
    if (holder_down && !context.service(hello.service).repository) {
        hello.reason = Reason::steer_holder_down;
        return;
    }
    if (const auto why = immovable(hello, holder, context)) {
        hello.reason = *why;
        return;
    }
    if (!start_move(hello, holder, hello.blade, burst, context)) hello.reason = Reason::steer_hold_full;
}

/// Carries the decision out for the hello's own segments.
void apply(PendingHello& hello, Burst& burst, Context& context) {
    if (hello.moving) return;
    if (hello.hold != kNone) {
        if (hello.blade != 0) return bind::release(hello.hold, hello.blade, hello.reason, context);
        return bind::drop_hold(hello.hold, Reason::drop_no_blade, context);
    }
    Packet& packet = burst.packets[hello.packet];
    if (hello.blade == 0) return packet.decide(Action::drop, Reason::drop_no_blade);
    packet.forward_to(hello.blade, hello.reason);
    Flow* flow = context.flows.insert(hello.hash, hello.blade, context.clock.ticks);
    flow->closed = (packet.h.flags & kFin) != 0;
    context.stats.blade_flows[hello.blade].add();
}

/// Later packets of the same connection in the same burst.
void follow(Packet& packet, const PendingHello& hello, Context& context) {
    if (hello.blade == 0) return packet.decide(Action::drop, Reason::drop_no_blade);
    if (!hello.moving) return packet.forward_to(hello.blade, Reason::hello_rest);
    switch (bind::add_if_room(hello.hold, packet, context)) {
        case AddResult::added:
            return packet.decide(Action::hold, Reason::hello_rest);
        case AddResult::duplicate:
            return packet.decide(Action::drop, Reason::drop_duplicate);
        case AddResult::out_of_window:
            return packet.decide(Action::drop, Reason::drop_out_of_window);
        case AddResult::too_many:
        case AddResult::no_segment:
            return packet.decide(Action::drop, Reason::drop_no_memory);
    }
}

}  // namespace

void process(Burst& burst, Context& context) {
    if (burst.hello_count == 0) return;
    context.names->decrypt(burst.pending(), *context.snapshot, context.stats);
    find_holders(burst.pending(), context);
    for (PendingHello& hello : burst.pending()) {
        decide(hello, burst, context);
        apply(hello, burst, context);
    }
    for (Packet& packet : burst.all())
        if (!packet.decided) follow(packet, burst.hellos[packet.follows], context);
}

void move_answered(const MoveAnswer& answer, Context& context) {
    const auto slot = static_cast<uint32_t>(answer.move_id);
    const uint32_t generation = static_cast<uint32_t>(answer.move_id >> kSlotBits) & 0xffffff;
    if (slot >= context.holds_table.capacity()) return;
    const Hold& hold = context.holds_table.at(slot);
    if (hold.phase != HoldPhase::moving || hold.generation != generation) return;  // its budget was spent
    // A connection that a blade has stays there, though its session may have gone elsewhere meanwhile (with a
    // drain): that blade asks for it itself, and a third one would reset the connection.
    const bool may_follow = hold.bound == 0 || hold.bound == answer.holder;
    const bool there = answer.moved && answer.holder != 0 && may_follow;
    bind::end_move(slot, there ? answer.holder : hold.target,
                   there ? Reason::steer_move : Reason::steer_move_failed, context);
}

}  // namespace keyrail::steer
