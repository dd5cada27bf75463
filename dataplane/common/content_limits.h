// SPDX-License-Identifier: Apache-2.0
// Limits that keyraild checks in a configuration, and the dataplane in a snapshot.
#pragma once

#include <cstddef>

namespace keyrail {

inline constexpr size_t kMaxServerName = 253;  // RFC 1035 section 2.3.4, without the dot at the end
inline constexpr size_t kMaxProtocol = 255;    // RFC 7301 section 3.1

}  // namespace keyrail
