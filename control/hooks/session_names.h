// SPDX-License-Identifier: Apache-2.0
// Session names (DESIGN.md section 4), made and recognised with the keys that the agent put into the store's
// control block. A key is in this process only as long as it is used: a core dump of the server has none.
#pragma once

#include <array>
#include <span>

#include "control/store/store.h"
#include "dataplane/common/session_name.h"

namespace keyrail::hooks {

/// A new name. While the agent has given no key it is random: the session works on this blade, but the
/// dispatcher cannot tell its home. False: OpenSSL has no randomness or no AES; the caller lets the handshake
/// fail.
bool make_session_name(const Store& store, SessionName& name);

/// As OpenSSL makes them itself. False: likewise.
bool make_random_name(SessionName& name);

/// Whether a blade of this chassis made the name, every bit of it, with a key that is still known.
bool is_ours(const Store& store, const SessionName& name);

/// Names can be made that say where the session is.
bool has_name_key(const Store& store);

/// A secret that is made of the name's key and of `shared`: nobody can make it who lacks one of them. False:
/// the key is unknown.
bool derive_secret(const Store& store, const SessionName& name, std::span<const uint8_t> shared,
                   std::array<uint8_t, 32>& secret);

}  // namespace keyrail::hooks
