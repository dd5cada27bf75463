// SPDX-License-Identifier: Apache-2.0
// The packet path on one page: rx -> parse -> bind -> steer -> settle -> egress -> tx, side exits punt, hold,
// handoff and drop.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail {

/// Runs the burst's packets (mbuf, data, size and port set) to completion: afterwards each mbuf is in a
/// transmit queue, in the hold table, with another worker, or freed.
void run_pipeline(Burst& burst, Context& context);

/// Timers of the hold table and of questions, once per loop.
void run_timers(Burst& burst, Context& context);

/// Whose a connection is: its packets, which waited for that, run once more.
void take_answer(const FlowAnswer& answer, Burst& burst, Context& context);

}  // namespace keyrail
