// SPDX-License-Identifier: Apache-2.0
// Stage `parse`: headers of every packet, and what it is to us: client to service, blade to client, or the
// kernel's.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::parse {

/// Decides about everything but packets to a service, which get `service` and `hash` and go on to `bind`.
void process(Burst& burst, Context& context);

}  // namespace keyrail::parse
