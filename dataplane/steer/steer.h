// SPDX-License-Identifier: Apache-2.0
// Stage `steer`: decides about every ClientHello of the burst. It changes nothing but their decisions.
#pragma once

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"

namespace keyrail::steer {

void process(Burst& burst, Context& context);

}  // namespace keyrail::steer
