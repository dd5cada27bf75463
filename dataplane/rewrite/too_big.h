// SPDX-License-Identifier: Apache-2.0
// Stage `rewrite`: a packet that is longer than its link's MTU is answered as a router answers it (RFC 1191,
// RFC 8201): its sender sends smaller ones from then on. Without an answer it would send this one for ever.
// The answer comes from the address that the packet was for: workers know no other of ours.
#pragma once

#include "dataplane/core/context.h"

struct rte_mbuf;

namespace keyrail {

/// True: it was too long, and has become an ICMP error, or was dropped; the mbuf is no longer the caller's.
/// False: it fits (what is longer are its VLAN tags). The frame is as it came.
bool answer_too_big(rte_mbuf* mbuf, NextHop hop, Context& context);

}  // namespace keyrail
