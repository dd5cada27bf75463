// SPDX-License-Identifier: Apache-2.0
// What the kernel of the dispatcher must be told once, at start: sysctls, and the addresses and routes of the
// TAPs.
#pragma once

#include "dataplane/common/result.h"
#include "dataplane/io/ports.h"
#include "dataplane/profile/profile.h"

namespace keyrail {

/// Forwarding on (the kernel forwards what the workers punt for want of a neighbour), reverse-path filter and
/// redirects off on the TAPs, the interfaces below the wires closed for the kernel's own IP. Then the
/// profile's addresses and routes. Acts on the network namespace of the calling thread.
Result<void> set_up_kernel(const Profile& profile, const Ports& ports);

}  // namespace keyrail
