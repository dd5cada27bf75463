// SPDX-License-Identifier: Apache-2.0
// Session names for tests that play keyraild: with the name key that they give out.
#pragma once

#include "control/agent/name_keys.h"
#include "tests/support/session_names.h"

namespace keyrail::testing {

inline constexpr NameKeys::Key kNameKey = {1, 2, 3, 4, 5, 6, 7, 8};

/// A name whose home is `blade`.
inline SessionName name_at(uint16_t blade, uint8_t number) { return name_at(kNameKey, 0, blade, number); }

}  // namespace keyrail::testing
