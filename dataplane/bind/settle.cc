// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/settle.h"

#include <rte_ring_elem.h>

#include "dataplane/bind/hello.h"
#include "dataplane/bind/release.h"
#include "dataplane/common/stamp.h"
#include "dataplane/rewrite/answers.h"

namespace keyrail::settle {
namespace {

/// The hello must wait in a hold. One that came in a single packet gets its hold here.
uint32_t hold_for(const PendingHello& hello, Burst& burst, Context& context) {
    if (hello.hold != kNone) return hello.hold;
    Packet& packet = burst.packets[hello.packet];
    const uint32_t slot = bind::open_hold(packet, packet.h.seq, context);
    if (slot == kNone) return kNone;
    context.holds_table.at(slot).bound = hello.facts.bound;
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

/// Nobody can guess it, and of another hold it is another one. Never 0.
uint64_t token_of(MoveId id, uint64_t since_us, const Context& context) {
    const kr_cookie_tuple message{{id.number(), since_us, 0, 0, 0}};
    return kr_cookie_mac(&message, 0, 0, &context.shared.arrival_key) | 1;
}

/// Asks for the move and parks the hello. False: it cannot be parked or asked for; it goes on at once.
bool start_move(PendingHello& hello, Burst& burst, Context& context) {
    const uint32_t slot = hold_for(hello, burst, context);
    if (slot == kNone) return false;
    Hold& hold = context.holds_table.at(slot);
    const HelloFacts& facts = hello.facts;
    const Service& service = context.service(facts.service);
    const uint32_t budget = hello.wait.budget;
    hello.hold = slot;
    hello.packet = kNone;
    const MoveId id(context.worker, hold.generation, slot);
    const MoveAsk question{.move_id = id,
                           .name = facts.names[hello.holder.name],
                           .from = hello.holder.blade,
                           .to = hello.decision.blade,
                           .service = service.id,
                           .tls_version = facts.tls_version,
                           .budget_us = budget,
                           .asked_ns = stamp_ns(),
                           .token = token_of(id, context.clock.us, context)};
    if (!ask(question, context)) return false;
    hold.since_us = context.clock.us;
    hold.tls_version = facts.tls_version;
    hold.saving_us = hello.wait.saving;
    context.holds_table.start_moving(slot, hello.decision.blade, context.clock.us + budget);
    hello.moving = true;
    return true;
}

/// No blade can have it. The segment that made it whole is refused, as a hello in one segment is.
void refuse_held(const PendingHello& hello, Burst& burst, Context& context) {
    const Reason reason = hello.decision.reason;
    if (hello.completed_by == kNone) return bind::drop_hold(hello.hold, reason, context);
    Packet& packet = burst.packets[hello.completed_by];
    bind::drop_hold(hello.hold, reason, context, packet.mbuf);
    refuse(packet, context.service(packet.service).refuse, reason, context);
}

/// A blade that has the connection already may have heard of its end before the hello was decided about.
void enter_flow(const PendingHello& hello, BladeId blade, const Packet& packet, Context& context) {
    Flow flow(context.clock.ticks, blade, packet.h.seq);
    flow.client_done = (packet.h.flags & kFin) != 0;
    const Flow* known =
        hello.facts.bound != 0 ? context.flows.find(hello.facts.hash, context.clock.ticks) : nullptr;
    if (known != nullptr && known->blade() == blade) {
        flow.client_done = flow.client_done || known->client_done;
        flow.blade_done = known->blade_done;
        flow.reset = known->reset;
    }
    context.flows.insert(hello.facts.hash, flow);
}

/// The hello's own segments.
void settle_hello(PendingHello& hello, Burst& burst, Context& context) {
    const auto [blade, reason, move] = hello.decision;
    if (move && start_move(hello, burst, context)) return;
    if (hello.hold != kNone) {
        if (blade != 0) return bind::release(hello.hold, blade, reason, context);
        return refuse_held(hello, burst, context);
    }
    Packet& packet = burst.packets[hello.packet];
    if (blade == 0) return refuse(packet, context.service(packet.service).refuse, reason, context);
    packet.forward_to(blade, reason);
    enter_flow(hello, blade, packet, context);
    context.stats.blade_flows[blade].add();
}

/// Behind a hello that waits for its session. A RST gives up both.
void wait_with(Packet& packet, PendingHello& hello, Burst& burst, Context& context) {
    bind::further_segment(burst, packet, hello.hold, context);
    if (context.holds_table.at(hello.hold).phase == HoldPhase::moving) return;
    hello.moving = false;
    hello.decision = {.blade = 0, .reason = Reason::drop_rst_cookie};
}

/// Later packets of the same connection in the same burst.
void settle_follower(Packet& packet, PendingHello& hello, Burst& burst, Context& context) {
    const Decision& decision = hello.decision;
    if (hello.moving) return wait_with(packet, hello, burst, context);
    if (decision.blade == 0) return packet.decide(Action::drop, decision.reason);
    packet.forward_to(decision.blade, Reason::hello_rest);
    if (!(packet.h.flags & (kFin | kRst))) return;
    if (Flow* flow = context.flows.find(packet.hash, context.clock.ticks); flow != nullptr)
        flow->client_says(packet.h.flags, context.clock.ticks, packet.h.seq);
}

}  // namespace

void process(Burst& burst, Context& context) {
    if (burst.hello_count == 0) return;
    for (PendingHello& hello : burst.pending()) settle_hello(hello, burst, context);
    for (Packet& packet : burst.all())
        if (!packet.decided) settle_follower(packet, burst.hellos[packet.follows], burst, context);
}

void move_answered(const MoveAnswer& answer, Context& context) {
    const MoveId id = answer.move_id;
    if (id.slot() >= context.holds_table.capacity()) return;
    const Hold& hold = context.holds_table.at(id.slot());
    if (hold.phase != HoldPhase::moving || hold.generation != id.generation())
        return;  // its budget was spent, or it was answered before
    const bool arrived = answer.token != 0;
    if (arrived && answer.token != token_of(id, hold.since_us, context)) return;
    context.stats.moves_arrived.add(arrived);
    const BladeId holder = arrived ? hold.target : answer.holder;
    // A connection that a blade has stays there, though its session may have gone elsewhere meanwhile (with a
    // drain): that blade asks for it itself, and a third one would reset the connection.
    const bool may_follow = hold.bound == 0 || hold.bound == holder;
    const bool there = answer.moved && holder != 0 && may_follow;
    context.trace.at_work(Stage::settle);
    const int64_t to_worker_us = stage_us(answer.heard_ns, stamp_ns());
    if (!arrived && to_worker_us >= 0) context.stats.to_worker.add(static_cast<uint64_t>(to_worker_us));
    bind::end_move(id.slot(), there ? holder : hold.target,
                   there ? Reason::steer_move : Reason::steer_move_failed, context);
}

}  // namespace keyrail::settle
