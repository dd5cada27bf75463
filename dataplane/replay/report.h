// SPDX-License-Identifier: Apache-2.0
// One JSON line per ClientHello.
#pragma once

#include <string>

#include "dataplane/replay/tcp.h"

namespace keyrail::replay {

std::string json_line(const Found& found);

}  // namespace keyrail::replay
