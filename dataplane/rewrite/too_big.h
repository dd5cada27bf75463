// SPDX-License-Identifier: Apache-2.0
// Stage `rewrite`: a packet that is longer than its link's MTU is answered as a router answers it (RFC 1191,
// RFC 8201): its sender sends smaller ones from then on. Without an answer it would send this one for ever.
// The answer comes from the address that the packet was for: workers know no other of ours.
#pragma once

#include "dataplane/core/context.h"

struct rte_mbuf;

namespace keyrail {

enum class TooBig : uint8_t {
    fits,        // what is longer are its VLAN tags. The frame is as it came
    answered,    // it has become an ICMP error, for the port that it came from
    unanswered,  // an error too many, or somebody still reads the packet
};
TooBig answer_too_big(rte_mbuf* mbuf, NextHop hop, Context& context);

}  // namespace keyrail
