// SPDX-License-Identifier: Apache-2.0
// Continuance: has servers close connections that are idle, so that their clients come back, elsewhere and
// resumed (DESIGN.md section 7). The server sees what it sees when a client leaves: the end of what it reads.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>

#include "control/agent/sock_diag.h"
#include "dataplane/common/address.h"

namespace keyrail {

/// Closes connections of these services that have been idle for kIdle: nothing came, nothing went, nothing is
/// on its way. A request that the client sends in this very moment meets a closed connection, as it may with
/// any server that closes idle ones (RFC 9112 section 9.5); clients repeat it. Returns how many were closed.
size_t close_idle(SockDiag& sockets, const std::set<HostPort>& services);

inline constexpr std::chrono::milliseconds kIdle{1000};
/// In one call: the rest has its turn in the next one.
inline constexpr size_t kCloseAtOnce = 1000;

}  // namespace keyrail
