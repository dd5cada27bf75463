// SPDX-License-Identifier: Apache-2.0
// Stage `parse`, the way back: a blade's FIN or RST tells the flow's owner that its side is done. Where
// packets go from the blades to the clients directly, nobody hears of it, and flows live until they are idle
// for too long.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::parse {

/// A FIN or RST from a blade, parsed.
void note_end(const Packet& packet, Context& context);

/// What another worker heard of a flow of ours. Only the word of the blade that has the flow counts.
void flow_ended(const FlowEnd& end, Context& context);

}  // namespace keyrail::parse
