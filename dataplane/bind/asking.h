// SPDX-License-Identifier: Apache-2.0
// Stage `bind`: whose is this connection? The agents are asked when the flow table does not have it (after a
// restart that lost the table, when another dispatcher had it, when it was idle for too long), and when it
// is not certain that its blade has got it.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::bind {

enum class Whose : uint8_t {
    waits,    // the packet waits (or is one too many of those that do) while the agents are asked
    known,    // they were: the flow table has the answer
    nobodys,  // they were: no blade has it
    unknown,  // nobody can be asked, or has answered in time, or too many were asked for
};
/// The caller has looked into the flow table. A packet that waits is no longer the caller's; all others are.
Whose ask_for(Packet& packet, Context& context);

/// The answer. The packets that waited, to be looked at again; valid until the next call of anything here.
std::span<rte_mbuf* const> flow_answered(const FlowAnswer& answer, Context& context);
/// The same for a question whose time is over; empty: there is none.
std::span<rte_mbuf* const> flow_unanswered(Context& context);

}  // namespace keyrail::bind
