// SPDX-License-Identifier: Apache-2.0
// The store that this process uses.
#pragma once

#include "control/store/store.h"

namespace keyrail::hooks {

/// $KEYRAIL_STORE (default /dev/shm/keyrail/store), opened when the server makes its first SSL_CTX: in its
/// master process, before it drops privileges or changes its root; children inherit the mapping. When the
/// agent has made a new file since, contexts made from now on use that one. nullptr: there is none; said on
/// stderr, once.
Store* current_store();

}  // namespace keyrail::hooks
