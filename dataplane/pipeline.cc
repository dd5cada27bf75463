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

}  // namespace

void run_pipeline(Burst& burst, Context& context) {
    burst.forget_hellos();
    parse::process(burst, context);  // what is each packet to us?
    bind::process(burst, context);   // known flows go on, SYNs are answered, ClientHellos wait for a decision
    steer::process(burst, context);  // which blade gets each hello, and must its session move?
    settle::process(burst, context);  // hellos go there, or are held until it has
    egress::process(burst, context);  // out, and counted
}

void run_timers(Burst& burst, Context& context) {
    burst.count = 0;
    burst.forget_hellos();
    bind::expire(burst, context);
    steer::process(burst, context);
    settle::process(burst, context);
    for (auto late = bind::flow_unanswered(context); !late.empty(); late = bind::flow_unanswered(context))
        run_again(late, burst, context);
}

void take_answer(const FlowAnswer& answer, Burst& burst, Context& context) {
    run_again(bind::flow_answered(answer, context), burst, context);
}

}  // namespace keyrail
