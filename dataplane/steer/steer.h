// SPDX-License-Identifier: Apache-2.0
// Stage `steer`: picks the blade of every ClientHello of the burst (DESIGN.md section 6), and asks for moves.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::steer {

void process(Burst& burst, Context& context);

/// An answer of the control plane about a session that a hold waits for. Late ones are ignored.
void move_answered(const MoveAnswer& answer, Context& context);

}  // namespace keyrail::steer
