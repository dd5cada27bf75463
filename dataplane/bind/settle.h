// SPDX-License-Identifier: Apache-2.0
// Stage `settle`: carries out what was decided about the ClientHellos of a burst. Each goes to its blade, or
// waits in a hold until its session has been moved there.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::settle {

/// Afterwards every packet of the burst is decided about.
void process(Burst& burst, Context& context);

/// An answer of the control plane about a session that a hold waits for. Late ones are ignored.
void move_answered(const MoveAnswer& answer, Context& context);

}  // namespace keyrail::settle
