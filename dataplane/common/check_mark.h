// SPDX-License-Identifier: Apache-2.0
// How keyraild's checks get to a VIP on one certain blade: their packets carry a mark, by which the kernel
// looks them up in that blade's own routing table. keyrail-dp makes tables and rules (link/check_routes.h).
#pragma once

#include <cstdint>

#include "dataplane/common/ids.h"

namespace keyrail {

/// "KR" in the upper half, the blade's id in the lower one. The table has the same number.
inline constexpr uint32_t kCheckMark = 0x4b520000, kCheckMarkMask = 0xffff0000;

inline uint32_t check_mark(BladeId blade) { return kCheckMark | uint32_t{blade}; }

}  // namespace keyrail
