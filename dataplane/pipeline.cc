// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline.h"

#include <rte_mbuf.h>

#include <algorithm>

#include "dataplane/bind/asking.h"
#include "dataplane/bind/bind.h"
#include "dataplane/bind/settle.h"
#include "dataplane/parse/parse.h"
#include "dataplane/rewrite/egress.h"
#include "dataplane/steer/steer.h"
#include "dataplane/trace/tracer.h"

namespace keyrail {
namespace {

/// Packets that waited.
void run_again(std::span<rte_mbuf* const> mbufs, Burst& burst, Context& context) {
    burst.count = 0;
    for (rte_mbuf* mbuf : mbufs) {
        Packet& packet = burst.packets[burst.count++];
        packet.mbuf = mbuf;
        packet.data = rte_pktmbuf_mtod(mbuf, uint8_t*);
        packet.size = mbuf->data_len;
        const auto port = std::ranges::find(context.ports.list, mbuf->port, &Port::device);
        packet.port = static_cast<uint8_t>(port - context.ports.list.begin());
    }
    if (burst.count > 0) run_pipeline(burst, context);
}

/// A stage. Where somebody traces, the packets that it has decided about learn that it was it; but for those
/// in holds, which may be gone already.
template <Tracing tracing>
[[gnu::always_inline]] inline void stage(Stage which, void (*process)(Burst&, Context&), Burst& burst,
                                         Context& context) {
    if constexpr (tracing == Tracing::on) context.trace.at_work(which);
    process(burst, context);
    if constexpr (tracing == Tracing::on)
        for (const Packet& packet : burst.all())
            if (packet.decided && packet.action != Action::hold)
                context.trace.decided(packet.mbuf, which, packet.action, packet.reason, packet.blade);
}

template <Tracing tracing>
[[gnu::noinline]] void run(Burst& burst, Context& context) {
    burst.forget_hellos();
    if constexpr (tracing == Tracing::on) {
        if (context.packet_trace != nullptr) context.packet_trace->arrived(burst, context);
        for (const Packet& packet : burst.all()) context.trace.begins(packet.mbuf);
    }
    // What is each packet to us?
    stage<tracing>(Stage::parse, parse::process, burst, context);
    // Known flows go on, SYNs are answered, ClientHellos wait for a decision.
    stage<tracing>(Stage::bind, bind::process, burst, context);
    // Which blade gets each hello, and must its session move?
    steer::process(burst, context);
    if constexpr (tracing == Tracing::on)
        if (context.packet_trace != nullptr) context.packet_trace->decided(burst, context);
    // Hellos go there, or are held until it has.
    stage<tracing>(Stage::settle, settle::process, burst, context);
    // Out, and counted.
    egress::process<tracing>(burst, context);
}

}  // namespace

void run_pipeline(Burst& burst, Context& context) {
    if (context.trace.on()) [[unlikely]]
        return run<Tracing::on>(burst, context);
    run<Tracing::off>(burst, context);
}

void run_timers(Burst& burst, Context& context) {
    burst.count = 0;
    burst.forget_hellos();
    context.trace.at_work(Stage::bind);
    bind::expire(burst, context);
    steer::process(burst, context);
    if (context.packet_trace != nullptr) [[unlikely]]
        context.packet_trace->decided(burst, context);
    context.trace.at_work(Stage::settle);
    settle::process(burst, context);
    for (auto late = bind::flow_unanswered(context); !late.empty(); late = bind::flow_unanswered(context))
        run_again(late, burst, context);
}

void take_answer(const FlowAnswer& answer, Burst& burst, Context& context) {
    run_again(bind::flow_answered(answer, context), burst, context);
}

}  // namespace keyrail
