// SPDX-License-Identifier: Apache-2.0
// Stage `bind`, how segments come into the hold table and leave it: sent to a blade, read on, or dropped.
#pragma once

#include "dataplane/common/ids.h"
#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::bind {

/// A hold for the packet's connection, whose stream begins at `first_seq`, the packet in it; kNone when
/// nothing can make room for it.
uint32_t open_hold(const Packet& packet, Seq first_seq, Context& context);

/// Puts a segment into its hold. The table's memory is bounded: where there is none left, the oldest
/// incomplete hello of others goes on without its name.
AddResult add_segment(uint32_t slot, const Packet& packet, Context& context);
/// The same, but nobody has to make room.
AddResult add_if_room(uint32_t slot, const Packet& packet, Context& context);
/// The hello is complete, but its session has not arrived yet: what comes now waits behind it. `result`: of
/// adding this packet.
void wait_behind(Packet& packet, AddResult result);

/// Sends what a hold has to `blade` in stream order and binds the flow to it. `reason` counts the first
/// segment. A hello that is to be read on stays for that.
void release(uint32_t slot, BladeId blade, Reason reason, Context& context);

/// The move that a hold waits for has ended, or its time is over: it is released to `blade`. False: by the
/// current tables its connection may not go there; the timers will steer it again.
bool end_move(uint32_t slot, BladeId blade, Reason reason, Context& context);

/// From now on the hello in the hold is read in passing, on its way to the blade that has the connection.
void read_on(uint32_t slot, BladeId blade, Context& context);
/// The end of that without a session name: frees the slot; the blade has all segments already.
void stop_reading(uint32_t slot, Context& context);

/// Drops the segments that no blade has got, each counted as `reason`, and frees the slot. `spared` is the
/// caller's again.
void drop_hold(uint32_t slot, Reason reason, Context& context, const rte_mbuf* spared = nullptr);

}  // namespace keyrail::bind
