// SPDX-License-Identifier: Apache-2.0
// Late binding tried in earnest, for `keyrail-agent --check`: in a network namespace of its own, so that
// nothing of this machine's network is touched, a server gets a connection whose SYN nobody has seen.
#pragma once

#include "dataplane/common/result.h"

namespace keyrail {

/// Needs root. This thread stays in the namespaces that it makes; they end with the process.
Result<void> try_late_binding();

}  // namespace keyrail
