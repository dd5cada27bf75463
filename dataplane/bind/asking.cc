// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/asking.h"

#include <rte_ring_elem.h>

namespace keyrail::bind {
namespace {

using State = AskedFlows::State;

/// Puts the question to the control thread. False when its queue is full.
bool put(const Packet& packet, const AskedFlows::Asked& asked, Context& context) {
    FlowAsk ask{.ask_id = FlowAskId(context.worker, asked.generation, context.asked_flows.slot(asked)),
                .service = context.service(packet.service).id,
                .tuple = packet.h.tuple,
                .ipv6 = packet.h.ipv6};
    if (rte_ring_enqueue_elem(context.shared.flow_asks[context.worker], &ask, sizeof ask) != 0) return false;
    context.stats.flows_asked.add();
    context.wake_control = true;
    return true;
}

/// May a question be asked? Not if there is only one blade, nor more of them than the agents can look up.
bool may_ask(const Packet& packet, Context& context) {
    return context.shared.flow_asks[context.worker] != nullptr &&
           context.shared.control_connected.load(std::memory_order_relaxed) &&
           context.service(packet.service).flow_blades > 1 && context.asks.take(context.clock.us);
}

void wait(Packet& packet, AskedFlows::Asked& asked, Context& context) {
    const bool kept = context.asked_flows.add(asked, packet.mbuf);
    packet.decide(kept ? Action::hold : Action::drop, kept ? Reason::hello_rest : Reason::drop_ask_full);
}

void enter(const AskedFlows::Asked& asked, const FlowAnswer& answer, Context& context) {
    Flow flow(context.clock.ticks, answer.blade, asked.seq);
    flow.client_done = flow.blade_done = answer.time_wait;
    const Flow* known = context.flows.find(asked.hash, context.clock.ticks);
    if (known != nullptr && known->blade() == answer.blade) {  // who asked may be a stranger
        flow.place = known->place;
        flow.client_done = flow.client_done || known->client_done;
    }
    context.flows.insert(asked.hash, flow);
    context.stats.flows_found.add();
}

/// Nobody answered in time, and its packets went where Maglev says. Is it that connection still, and not a
/// new one from the same port?
bool still_guessed(const AskedFlows::Asked& asked, Context& context) {
    const Flow* known = context.flows.find(asked.hash, context.clock.ticks);
    return known == nullptr || known->plausible(asked.seq);
}

}  // namespace

Whose ask_for(Packet& packet, Context& context) {
    AskedFlows& flows = context.asked_flows;
    if (AskedFlows::Asked* asked = flows.find(packet.hash, context.clock.us); asked != nullptr) {
        if (asked->state == State::found) return Whose::known;
        if (asked->state != State::waiting)
            return asked->state == State::nobody ? Whose::nobodys : Whose::unknown;
        wait(packet, *asked, context);
        return Whose::waits;
    }
    if (!may_ask(packet, context)) return Whose::unknown;
    AskedFlows::Asked* asked = flows.open(packet.hash, packet.h.seq, context.clock.us);
    if (asked == nullptr) return Whose::unknown;
    if (!put(packet, *asked, context)) {
        flows.close(*asked, State::free, context.clock.us);
        return Whose::unknown;
    }
    wait(packet, *asked, context);
    return Whose::waits;
}

std::span<rte_mbuf* const> flow_answered(const FlowAnswer& answer, Context& context) {
    AskedFlows& flows = context.asked_flows;
    AskedFlows::Asked* asked = flows.at(answer.ask_id.slot(), answer.ask_id.generation(), context.clock.us);
    if (asked == nullptr) return {};  // its time was over
    const State state = answer.blade != 0 ? State::found : State::nobody;
    const bool late = asked->state == State::unanswered;
    if (late && !still_guessed(*asked, context)) return {};
    if (answer.blade != 0) enter(*asked, answer, context);
    if (!late) return flows.close(*asked, state, context.clock.us);
    flows.correct(*asked, state, context.clock.us);
    return {};
}

std::span<rte_mbuf* const> flow_unanswered(Context& context) {
    AskedFlows::Asked* asked = context.asked_flows.late(context.clock.us);
    if (asked == nullptr) return {};
    return context.asked_flows.close(*asked, State::unanswered, context.clock.us);
}

}  // namespace keyrail::bind
