// SPDX-License-Identifier: Apache-2.0
// What networks put around the packets that they carry, and captures show: PPPoE, MPLS, Cisco metadata, IP in
// IP, GRE, VXLAN, Geneve, GTP. The dispatcher never sees these on its wire, so they are no business of the
// pipeline.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/wire/cursor.h"

namespace keyrail::replay {

/// What a tunnel carries: begins at `at`, an Ethernet frame when `ether_type` is 0.
struct Inner {
    size_t at;
    uint16_t ether_type;
};

/// One layer; nullopt: `frame` (Ethernet) is no tunnel that we know.
std::optional<Inner> find_inner(Bytes frame);

}  // namespace keyrail::replay
