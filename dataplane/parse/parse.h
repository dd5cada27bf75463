// SPDX-License-Identifier: Apache-2.0
// Stage `parse`: headers of every packet, and what it is to us: client to service, blade to client, or the
// kernel's.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::parse {

/// Decides about everything but packets to a service, which get `service` and `hash` and go on to `bind`.
void process(Burst& burst, Context& context);

/// Which worker owns a flow: by bits of the hash that do not choose its bucket.
inline uint16_t owner(uint64_t hash, uint16_t workers) {
    return static_cast<uint16_t>((hash >> 48) % workers);
}

}  // namespace keyrail::parse
