// SPDX-License-Identifier: Apache-2.0
// One JSON line per ClientHello.
#pragma once

#include <optional>
#include <string>

#include "dataplane/replay/steering.h"
#include "dataplane/replay/tcp.h"

namespace keyrail::replay {

/// `steered`: what a snapshot makes of it; without one, the reason is that of a service with the usual
/// limits.
std::string json_line(const Found& found, const std::optional<Steered>& steered = {});

}  // namespace keyrail::replay
