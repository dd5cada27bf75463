// SPDX-License-Identifier: Apache-2.0
// Stage `egress`: the one way out of the pipeline. What leaves is counted here, once, by its reason
// (verdict.h).
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"
#include "dataplane/rewrite/l2.h"
#include "dataplane/rewrite/too_big.h"

namespace keyrail::egress {

/// Every packet of the burst leaves as its action says.
void process(Burst& burst, Context& context);

/// A frame to its next hop, or dropped where that is not known. `tagged`: it has VLAN tags.
[[gnu::always_inline]] inline void forward(rte_mbuf* mbuf, uint8_t* ethernet, bool tagged, NextHop hop,
                                           Reason reason, Context& context) {
    if (!hop.known()) return context.tx.drop(mbuf, Reason::drop_blade_unresolved);
    if (mbuf->pkt_len > context.mtus.longest_frame[hop.port()] && answer_too_big(mbuf, hop, context))
        [[unlikely]]
        return;
    if (!tagged && hop.tags() == 0) [[likely]]
        write_macs(ethernet, hop, context);
    else if (!rewrite_l2(mbuf, hop, context))
        return context.tx.drop(mbuf, Reason::drop_no_memory);
    context.tx.send(hop.port(), mbuf);
    context.stats.count(reason);
}

}  // namespace keyrail::egress
