// SPDX-License-Identifier: Apache-2.0
// What control and dataplane number: the same ranges on both sides.
#pragma once

#include <cstdint>

namespace keyrail {

/// Blades are named by the operator: their id is in session names and messages. 0 is no blade.
inline constexpr uint16_t kBladeIdMin = 1;
inline constexpr uint16_t kBladeIdMax = 4095;

}  // namespace keyrail
