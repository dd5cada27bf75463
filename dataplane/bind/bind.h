// SPDX-License-Identifier: Apache-2.0
// Stage `bind`: known flows go to their blade; SYNs are answered; first data segments become PendingHellos,
// at once or after a stay in the hold table.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::bind {

/// Decides about every packet to a service, or makes it part of a PendingHello of this burst.
void process(Burst& burst, Context& context);

/// Timers: holds whose hello did not complete in time become PendingHellos of `burst` (at most what fits into
/// it), holds whose move did not come in time are released to their target.
void expire(Burst& burst, Context& context);

}  // namespace keyrail::bind
