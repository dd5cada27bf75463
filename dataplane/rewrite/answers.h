// SPDX-License-Identifier: Apache-2.0
// Stage `rewrite`, what a VIP answers by itself: echo replies, and the refusal of what nobody serves (RFC
// 9293 section 3.10.7.1, RFC 792, RFC 4443). Written into the packet that asked. A usual packet does not come
// here.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail {

/// A packet to a VIP that no service is for. Undecided where it is nothing that is answered or refused.
void to_bare_vip(Packet& packet, const Vip& vip, Context& context);

/// A segment for a service that no blade can take: a RST, or a silent drop that `silent` counts.
void refuse(Packet& packet, Refuse how, Reason silent, Context& context);

}  // namespace keyrail
