// SPDX-License-Identifier: Apache-2.0
// Stage `parse`: reads the headers of every packet, and sorts it: client to service, blade to client, or for
// the kernel.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::parse {

/// Decides about everything but packets to a service, which get `service` and `hash` and go on to `bind`.
void process(Burst& burst, Context& context);

}  // namespace keyrail::parse
