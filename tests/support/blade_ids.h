// SPDX-License-Identifier: Apache-2.0
// The blades of a test chassis: 1, 2, 3 ...
#pragma once

#include <vector>

#include "dataplane/common/ids.h"

namespace keyrail::testing {

inline std::vector<BladeId> blade_ids(uint16_t count) {
    std::vector<BladeId> ids;
    for (uint16_t id = 1; id <= count; id++) ids.emplace_back(id);
    return ids;
}

}  // namespace keyrail::testing
