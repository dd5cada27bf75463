// SPDX-License-Identifier: Apache-2.0
// Stage `bind`, a packet in the middle of a connection that nobody here knows: after a restart that lost the
// flow table, when another dispatcher had it, or when it was idle for too long. Its blade is asked for.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::bind {

/// True: it waits (or is one too many of those that do), and its blade is being asked for. False: nobody can
/// be asked, was found, or too many were asked for; guess.
bool ask_for(Packet& packet, Context& context);

/// The answer. The packets that waited, to be looked at again; valid until the next call of anything here.
std::span<rte_mbuf* const> flow_answered(const FlowAnswer& answer, Context& context);
/// The same for a question whose time is over; empty: there is none.
std::span<rte_mbuf* const> flow_unanswered(Context& context);

}  // namespace keyrail::bind
