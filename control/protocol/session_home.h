// SPDX-License-Identifier: Apache-2.0
// One session name, opened with OpenSSL (dataplane/common/session_name.h; DESIGN.md section 4). The
// dispatcher opens them by the burst.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/common/session_name.h"

namespace keyrail {

/// The blade that made this name with this key. nullopt: nobody did, or a bit of it was changed.
std::optional<BladeId> home_of(const SessionName& name, std::span<const uint8_t, kNameKeySize> key);

}  // namespace keyrail
