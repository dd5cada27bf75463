// SPDX-License-Identifier: Apache-2.0
// Stage `egress`: packets leave the pipeline as their action says. Whatever a worker lets go, from a burst,
// from a hold or from the kernel, goes through here; Tx counts it by its reason (verdict.h).
#pragma once

#include <span>

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::egress {

/// Every packet of the burst leaves as its action says.
template <Tracing tracing>
void process(Burst& burst, Context& context);

/// A segment that was held goes to its blade.
void release(rte_mbuf* mbuf, BladeId blade, Reason reason, Context& context);
/// A segment that was held is dropped.
void drop(rte_mbuf* mbuf, Reason reason, Context& context);

/// What the kernel sends leaves by the wire of the same port.
void from_kernel(uint8_t port, std::span<rte_mbuf* const> mbufs, Context& context);

}  // namespace keyrail::egress
