// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/bind.h"

#include <utility>

#include "dataplane/bind/asking.h"
#include "dataplane/bind/hello.h"
#include "dataplane/bind/miss.h"
#include "dataplane/bind/release.h"
#include "dataplane/rewrite/answers.h"
#include "dataplane/rewrite/l2.h"

namespace keyrail::bind {
namespace {

/// By Maglev of the connection; nothing is remembered.
void by_tuple(Packet& packet, const Context& context, Reason reason) {
    const Maglev& ring = context.pool(packet.service).ring;
    if (ring.empty()) return packet.decide(Action::drop, Reason::drop_no_blade);
    packet.forward_to(ring.at(packet.hash), reason);
}

/// In the middle of a connection that is not in the flow table: the agents are asked for its blade, else
/// Maglev guesses.
void midstream(Packet& packet, Context& context, Reason reason) {
    if (ask_for(packet, context) != Whose::waits) by_tuple(packet, context, reason);
}

[[gnu::always_inline]] inline Flow* flow_of(const Packet& packet, Context& context) {
    return context.flows.find(packet.hash, context.clock.ticks,
                              [&] { return context.service(packet.service).idle_ticks; });
}

/// The flow, if its blade can still have it: whether that takes anything new does not matter. A flow of a
/// blade that is gone is bound anew, as if it were unknown.
[[gnu::always_inline]] inline Flow* live_flow(const Packet& packet, Context& context) {
    Flow* flow = flow_of(packet, context);
    if (flow == nullptr || !context.snapshot->blades[flow->blade()].flows_live) return nullptr;
    flow->seen(context.clock.ticks, packet.h.seq);
    return flow;
}

[[gnu::always_inline]] inline uint32_t hold_of(const Packet& packet, const Context& context) {
    return context.holds_table.find(packet.hash, packet.h.tuple);
}

/// Its client has given up: nobody waits for an answer to what is held, and nothing more is to be read.
void give_up_hold(uint32_t slot, Context& context) {
    const bool any = slot != kNone && context.holds_table.at(slot).phase != HoldPhase::deciding;
    if (any) drop_hold(slot, Reason::drop_rst_cookie, context);
}

/// What is held of an older connection with the same addresses and ports is of no use to the one whose stream
/// begins at `first_seq` (RFC 9293 section 3.5.1: half-open connections).
void drop_older_hold(const Packet& packet, Seq first_seq, Context& context) {
    const uint32_t slot = hold_of(packet, context);
    if (slot != kNone && context.holds_table.at(slot).base != first_seq) give_up_hold(slot, context);
}

/// A SYN on a flow that its client has not ended goes to its blade natively: only its kernel can tell whether
/// the client has forgotten that connection. So the new one is bound before its hello is seen, and the key
/// will have to follow the flow. A SYN proves nothing: where the old one may go on, what is known of its
/// numbers stays, so that a RST of the SYN's sender does not end it.
void reopen(Packet& packet, Flow& flow, Context& context) {
    drop_older_hold(packet, packet.h.seq + 1, context);
    const Flow old = flow;
    flow = Flow(context.clock.ticks, old.blade(), packet.h.seq);
    if (!old.ended()) flow.place = old.place;
    flow.hello_due = context.service(packet.service).by_session;
    packet.forward_to(flow.blade(), Reason::flow_syn);
}

/// A connection that is not in the flow table, bound without its hello: Maglev says the blade at the SYN, and
/// what follows goes where the SYN went, though the ring may have changed meanwhile.
void by_syn(Packet& packet, Context& context, Reason reason) {
    const Service& service = context.service(packet.service);
    if (is_syn(packet.h) && !service.served)
        return refuse(packet, service.refuse, Reason::drop_no_blade, context);
    if (!is_syn(packet.h)) {
        const BladeId blade = context.recent_syns.blade(packet.hash, context.clock.s);
        if (blade != 0 && context.snapshot->blades[blade].flows_live) return packet.forward_to(blade, reason);
        return midstream(packet, context, reason);
    }
    by_tuple(packet, context, reason);
    if (packet.action == Action::forward)
        context.recent_syns.note(packet.hash, packet.blade, context.clock.s);
}

/// All in one function: to hand a SYN on cost more than to read its options.
[[gnu::flatten]] void answer(Packet& packet, const Miss& miss, Context& context) {
    if (is_for_a_blade(packet, miss, context)) [[unlikely]]
        return by_syn(packet, context, Reason::bind_early);
    answer_by_cookie(packet, miss, context);
}

/// A blade has got its SYN, and answers for it.
bool is_native(const Packet& packet, const Context& context) {
    return context.recent_syns.blade(packet.hash, context.clock.s) != 0;
}

/// Was its cookie made by the process before this one, which may have given it to a blade? The client sends
/// again what was not answered meanwhile, and a second blade would reset the connection. Without timestamps a
/// cookie does not say when it was made.
[[gnu::noinline]] bool of_predecessor(const Packet& packet, const Context& context) {
    if (context.clock.us >= context.alone_at_us) return false;
    const Acknowledgement acknowledgement(packet.frame(), packet.h);
    const auto here = static_cast<int32_t>(context.clock.tai_ms - context.began_tai_ms);
    const std::optional<int32_t> age = acknowledgement.age_ms(context.clock.tai_ms);
    return !age || *age >= here;
}

/// No flow and no cookie explains it, but another reading of its numbers may. Without timestamps that is
/// easily guessed, and after a restart its beginning may be with a blade: so whose it is, is asked first, and
/// what a blade has was no guess. `known`: it is of a flow that has ended here, which nobody need be asked
/// about: these are its last acknowledgements. True: dealt with.
[[gnu::noinline]] bool explained_otherwise(Burst& burst, Packet& packet, bool known, Context& context) {
    if (!known && context.asked_flows.waits_for(packet.hash, context.clock.us))  // behind what came before
        return ask_for(packet, context) == Whose::waits;
    if (!(packet.h.flags & kAck)) return false;
    if (answer_probe(packet, context)) return true;
    const bool stamped = Acknowledgement(packet.frame(), packet.h).has_timestamp();
    const bool guess = !stamped && packet.h.payload_size > 0;  // a bare one that is good gets nobody anything
    if (!known && (guess || of_predecessor(packet, context))) {
        const Whose whose = ask_for(packet, context);
        if (whose == Whose::waits) return true;
        if (whose == Whose::known) return false;
    }
    return overtakes(burst, packet, stamped, context) || (guess && failed_guess(packet, context));
}

/// A segment that proves a handshake with our cookie, and says more than that.
void handshake_done(Burst& burst, Packet& packet, Context& context) {
    if (packet.h.flags & kRst) return packet.decide(Action::drop, Reason::drop_rst_cookie);
    if (context.clock.us < context.alone_at_us && of_predecessor(packet, context)) [[unlikely]]
        if (ask_for(packet, context) == Whose::waits) return;
    first_data(burst, packet, 0, context);
}

/// A hold of an older connection with the same addresses and ports, whose stream begins elsewhere, is of no
/// use to the one that proves its handshake.
bool outdated(uint32_t slot, const Packet& packet, Context& context) {
    const Hold& hold = context.holds_table.at(slot);
    return !packet.h.bare_ack() && hold.base != packet.h.seq && hold.phase != HoldPhase::deciding;
}

/// A good cookie without timestamps: is it to be believed? Not while the agents are being asked whose the
/// connection is, nor while many are guessed. True: it is not, and the packet is dealt with.
[[gnu::noinline]] bool doubtful(Packet& packet, Context& context) {
    if (context.asked_flows.waits_for(packet.hash, context.clock.us))
        return ask_for(packet, context) == Whose::waits;
    if (!too_many_guesses(packet, context) || context.bare_syns.blade(packet.hash, context.clock.s) != 0)
        return false;
    packet.decide(Action::drop, Reason::drop_cookie_guess);
    return true;
}

/// Of a connection whose hello, or half of it, lies in this burst: decided about with that. False: there is
/// none.
[[gnu::noinline]] bool follows(Burst& burst, Packet& packet, bool proven, Context& context) {
    if (joins_half(burst, packet, context)) return true;
    uint32_t slot = hold_of(packet, context);  // of that half, from now on
    if (slot != kNone && proven && outdated(slot, packet, context))
        drop_hold(std::exchange(slot, kNone), Reason::drop_rst_cookie, context);
    if (slot == kNone) return follows_pending(burst, packet);
    further_segment(burst, packet, slot, context);
    return true;
}

/// Is it of a connection that no blade has yet? Then it is decided about, or follows a hello of this burst.
/// `slot`: its hold, if there is one.
[[gnu::always_inline]] inline bool of_new_connection(Burst& burst, Packet& packet, const Miss& miss,
                                                     uint32_t slot, Context& context) {
    const Proof proof = proof_of(packet, miss, context);
    const bool proven = proof != Proof::none;
    if (proof == Proof::weak && doubtful(packet, context)) [[unlikely]]
        return true;
    if (slot != kNone && proven && outdated(slot, packet, context))
        drop_hold(std::exchange(slot, kNone), Reason::drop_rst_cookie, context);
    if (slot != kNone) {
        const Hold& hold = context.holds_table.at(slot);
        if (hold.bound != 0 && hold.phase != HoldPhase::deciding) return false;  // its blade has it
        further_segment(burst, packet, slot, context);
        return true;
    }
    if (burst.knows(packet.hash) && follows(burst, packet, proven, context)) return true;
    if (!proven) return false;
    if (packet.h.bare_ack()) {
        packet.decide(Action::drop, Reason::drop_ack_cookie);
        return true;
    }
    handshake_done(burst, packet, context);
    return true;
}

/// A client that uses the port of a connection that is over: its SYN is answered as any other's, and the
/// connection follows the key. Where the key leads to the blade that has the old one in TIME_WAIT, the accept
/// program lets the new one take its place. The entry stays until the cookie comes back: a SYN proves
/// nothing. So it is where that blade takes nothing new of this service: it has left the service's pools, or
/// no server listens there any more, and its kernel would reset the new connection. With early binding it
/// goes to the blade that had the old one, unless that takes nothing new, or little, and the old one has
/// ended: one that is half-closed lives.
void syn_of_known(Packet& packet, const Miss& miss, Flow& flow, Context& context) {
    const bool late = miss.service->by_session && miss.service->late;
    const bool member = miss.service->has_member(flow.blade());
    const Intake intake = context.snapshot->blades[flow.blade()].intake;
    const bool takes_new = member && intake != Intake::none;
    if (!flow.client_done && (takes_new || !late)) return reopen(packet, flow, context);
    const bool ended = flow.ended();
    if (!member) flow.client_done = true;  // what comes next is looked at: it may be the new connection's
    if (late && !is_for_a_blade(packet, miss, context)) return answer_by_cookie(packet, miss, context);
    if (member && (intake > Intake::draining || (takes_new && !ended))) return reopen(packet, flow, context);
    // Half-closed, as far as was heard; where its blade's packets do not come through us it may have ended.
    const Whose whose = ended ? Whose::nobodys : ask_for(packet, context);
    if (whose == Whose::waits) return;
    if (whose != Whose::nobodys) return reopen(packet, flow, context);
    context.flows.erase(packet.hash);
    by_syn(packet, context, miss.service->by_session ? Reason::bind_early : Reason::steer_tuple);
}

/// First data of a connection that its blade accepted natively.
void hello_of_bound(Burst& burst, Packet& packet, const Flow& flow, Context& context) {
    if (const uint32_t slot = hold_of(packet, context); slot != kNone)
        return further_segment(burst, packet, slot, context);
    if (!follows_pending(burst, packet)) first_data(burst, packet, flow.blade(), context);
}

void forgotten_flow(Burst& burst, Packet& packet, const Miss& miss, Context& context);

/// The first data of a connection whose blade takes nothing new, with its cookie. True: dealt with. A blade
/// that has accepted it has it for good; one whose server had stopped listening by then has dropped it, and
/// it comes again for ever (accept.bpf.c, KR_ACCEPT_NO_LISTENER). Only the blade knows which. With another
/// initial sequence number it is another connection, from a port that is used again. A cookie without
/// timestamps can be a stranger's guess: then the blade is asked, too.
bool begins_anew(Burst& burst, Packet& packet, const Miss& miss, const Flow& flow, Context& context) {
    if (context.snapshot->blades[flow.blade()].takes_new() || packet.h.bare_ack()) return false;
    if (packet.h.flags & kRst) return false;
    const Proof proof = proof_of(packet, miss, context);
    if (proof == Proof::none) return false;
    const bool may_be_its = proof == Proof::weak || flow.passed(packet.h.seq);
    const Whose whose = may_be_its ? ask_for(packet, context) : Whose::nobodys;
    if (whose == Whose::waits) return true;
    if (whose != Whose::nobodys) return false;
    context.flows.erase(packet.hash);
    forgotten_flow(burst, packet, miss, context);
    return true;
}

[[gnu::noinline]] void known_flow(Burst& burst, Packet& packet, const Miss& miss, Flow& flow,
                                  Context& context) {
    if (is_syn(packet.h)) {
        part_half(burst, packet.hash, context);
        return syn_of_known(packet, miss, flow, context);
    }
    const bool late = miss.service->by_session && miss.service->late;
    if (late && begins_anew(burst, packet, miss, flow, context)) return;
    const bool over = flow.ended() || (flow.client_done && !flow.passed(packet.h.seq));
    if (over && late) {
        if (miss.mac == kMacOnDemand && joins_half(burst, packet, context)) return;
        if (of_new_connection(burst, packet, miss, hold_of(packet, context), context)) return;
        if (!is_native(packet, context) && explained_otherwise(burst, packet, true, context)) return;
    }
    if (!(packet.h.flags & kRst)) flow.goes_on();
    if (packet.h.flags & (kFin | kRst)) flow.client_says(packet.h.flags, context.clock.ticks, packet.h.seq);
    const bool hello = flow.hello_due && miss.service->by_session;
    if (hello && flow.reset) give_up_hold(hold_of(packet, context), context);
    if (hello && !(packet.h.flags & kRst) && !packet.h.bare_ack())
        return hello_of_bound(burst, packet, flow, context);
    packet.forward_to(flow.blade(), Reason::flow);
}

/// Plain layer 4. The first packet after the SYN makes the entry, so that a SYN flood makes none.
void plain(Packet& packet, Context& context) {
    by_syn(packet, context, Reason::steer_tuple);
    if (packet.action == Action::forward && !(packet.h.flags & (kSyn | kRst)))
        context.flows.insert(packet.hash, Flow(context.clock.ticks, packet.blade, packet.h.seq));
}

/// Early binding. The handshake's last packet makes the entry: a SYN flood makes none. The hello comes on a
/// bound connection, the key follows it.
void bind_early(Burst& burst, Packet& packet, const Miss& miss, Context& context) {
    by_syn(packet, context, Reason::bind_early);
    if (packet.action != Action::forward || (packet.h.flags & kRst)) return;
    Flow* flow = context.flows.insert(packet.hash, Flow(context.clock.ticks, packet.blade, packet.h.seq));
    flow->hello_due = true;
    if (packet.h.bare_ack()) return;
    packet.decided = false;
    known_flow(burst, packet, miss, *flow, context);
}

/// Inlined where nearly all of its calls are: a call costs a SYN a twentieth.
[[gnu::always_inline]] inline void unknown_flow(Burst& burst, Packet& packet, const Miss& miss,
                                                Context& context) {
    const bool late = miss.service->late;
    if (is_syn(packet.h))
        return late ? answer(packet, miss, context) : by_syn(packet, context, Reason::bind_early);
    if (miss.mac == kMacOnDemand && joins_half(burst, packet, context)) return;
    uint32_t slot = hold_of(packet, context);
    const bool bound = slot != kNone && context.holds_table.at(slot).bound != 0;
    if (bound &&
        context.holds_table.at(slot).phase != HoldPhase::deciding)  // its blade went down: bound anew
        drop_hold(std::exchange(slot, kNone), Reason::drop_no_blade, context);
    if (of_new_connection(burst, packet, miss, slot, context)) return;
    if (!late || is_native(packet, context)) return bind_early(burst, packet, miss, context);
    if (explained_otherwise(burst, packet, false, context)) return;
    midstream(packet, context, Reason::steer_midstream);
}

[[gnu::noinline]] void forgotten_flow(Burst& burst, Packet& packet, const Miss& miss, Context& context) {
    unknown_flow(burst, packet, miss, context);
}

/// An ICMP error goes to the blade whose connection it is about, like any packet of that (path-MTU discovery,
/// RFC 1191 and 8201); the blade's kernel judges what it quotes (RFC 5927). It does not keep a flow alive.
void icmp_error(Packet& packet, Context& context) {
    const Service& service = context.service(packet.service);
    if (const Flow* flow = flow_of(packet, context); flow != nullptr)
        return packet.forward_to(flow->blade(), Reason::icmp_error);
    if (service.by_session && service.late) return packet.decide(Action::drop, Reason::drop_icmp_unowned);
    by_tuple(packet, context, Reason::icmp_error);
}

enum class Known : uint8_t { forwarded, not_in_table, unclear };

/// begins_anew() has to look at it.
[[gnu::always_inline]] inline bool may_begin(const Packet& packet, const Flow& flow, const Context& context) {
    if (context.snapshot->blades[flow.blade()].takes_new()) [[likely]]
        return false;
    return !packet.h.bare_ack();
}

/// An established flow needs no more than its blade: nearly all packets end here, a connection's last ones,
/// too. The table is looked at before anything of this burst changes it, which no client can tell.
[[gnu::always_inline]] inline Known known(Packet& packet, Context& context) {
    if (packet.h.layout != Layout::tcp || (packet.h.flags & kSyn)) return Known::unclear;
    Flow* flow = live_flow(packet, context);
    if (flow == nullptr) return Known::not_in_table;
    if (flow->needs_a_look() || may_begin(packet, *flow, context)) return Known::unclear;
    packet.forward_to(flow->blade(), Reason::flow);
    if (packet.h.flags & (kFin | kRst)) [[unlikely]]
        flow->client_says(packet.h.flags, context.clock.ticks, packet.h.seq);
    return Known::forwarded;
}

/// `inserted`: FlowTable::inserted() when the misses were looked for.
void explain(Burst& burst, const Miss& miss, uint64_t inserted, Context& context) {
    Packet& packet = *miss.packet;
    if (packet.h.layout == Layout::icmp_error) return icmp_error(packet, context);
    const bool none = miss.not_in_table && context.flows.inserted() == inserted;
    if (Flow* flow = none ? nullptr : live_flow(packet, context); flow != nullptr)
        return known_flow(burst, packet, miss, *flow, context);
    if (miss.service->by_session) return unknown_flow(burst, packet, miss, context);
    plain(packet, context);
}

}  // namespace

void process(Burst& burst, Context& context) {
    std::array<Miss, kBurst> misses;
    size_t count = 0;
    uint64_t talker = 0;
    const Periods periods{kr_cookie_period(context.clock.tai_ms), kr_cookie_latest(context.clock.tai_ms)};
    context.cookie_macs.clear();
    for (Packet& packet : burst.all()) {
        if (packet.decided) continue;
        const Known flow = known(packet, context);
        if (flow == Known::forwarded) continue;
        if (!is_to(packet.data, context.port_macs[packet.port])) [[unlikely]] {
            packet.decide(Action::drop, Reason::drop_other_mac);
            continue;
        }
        Miss& miss = misses[count++];
        miss.packet = &packet;
        miss.service = &context.service(packet.service);
        miss.not_in_table = flow == Known::not_in_table;
        add_mac(miss, talker, periods, context);
    }
    if (count == 0) return;
    context.cookie_macs.make(context.snapshot->cookie_keys);
    const uint64_t inserted = context.flows.inserted();
    for (const Miss& miss : std::span(misses).first(count)) explain(burst, miss, inserted, context);
    hold_halves(burst, context);
}

}  // namespace keyrail::bind
