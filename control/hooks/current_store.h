// SPDX-License-Identifier: Apache-2.0
// The store that this process uses.
#pragma once

#include "control/store/store.h"

namespace keyrail::hooks {

enum class Look { kWhenDue, kNow };

/// $KEYRAIL_STORE (default /dev/shm/keyrail/store), opened when the server makes its first SSL_CTX: in its
/// master process, before it drops privileges or changes its root; children inherit it. One that the agent
/// has replaced is exchanged for its successor here. nullptr: there is none (said on stderr, once); it is
/// looked for again now and then, by a caller that happens to come by, and none of them waits. kNow: not in a
/// handshake.
Store* current_store(Look when = Look::kWhenDue);

}  // namespace keyrail::hooks
