// SPDX-License-Identifier: Apache-2.0
// Stage `bind`, the client's first data: read in passing where the ClientHello came whole, else kept in the
// hold table until it is, or until there is a reason to wait no longer.
#pragma once

#include "dataplane/common/ids.h"
#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::bind {

/// The first data of a connection, or its FIN. `bound`: the blade that has the connection already, 0 = none
/// has.
void first_data(Burst& burst, Packet& packet, BladeId bound, Context& context);

/// Did the hello of this connection begin in this burst (HalfHello), and makes `packet` it whole? True: it is
/// decided about now, and `packet` follows it. False, where it did begin: that first segment is held from now
/// on.
bool joins_half(Burst& burst, Packet& packet, Context& context);

/// If it did begin in this burst: that first segment is held from now on.
void part_half(Burst& burst, uint64_t hash, Context& context);

/// Those that nothing came behind in this burst are held.
void hold_halves(Burst& burst, Context& context);

/// A segment that has overtaken the first data of its connection, which begins at `first_seq`.
void overtaking_segment(Burst& burst, Packet& packet, Seq first_seq, Context& context);

/// A later segment of a connection in hold `slot`.
void further_segment(Burst& burst, Packet& packet, uint32_t slot, Context& context);

/// Is this a later packet of a connection whose hello this burst is about to steer? Then it will follow it.
bool follows_pending(const Burst& burst, Packet& packet);

}  // namespace keyrail::bind
