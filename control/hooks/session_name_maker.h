// SPDX-License-Identifier: Apache-2.0
// Makes session names (DESIGN.md section 4) with the key that the agent put into the store's control block.
#pragma once

#include "control/agent/store.h"
#include "dataplane/steer/session_name.h"

namespace keyrail::hooks {

/// A new name. While the agent has given no key it is random: the session works on this blade, but the
/// dispatcher cannot tell its home. False: OpenSSL has no randomness or no AES; the caller lets the handshake
/// fail.
bool make_session_name(const Store& store, SessionName& name);

}  // namespace keyrail::hooks
