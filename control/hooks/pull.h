// SPDX-License-Identifier: Apache-2.0
// The last chance before a full handshake: ask the blade's agent to fetch a session that is not in the store.
#pragma once

#include "control/store/store.h"
#include "dataplane/common/ids.h"

namespace keyrail::hooks {

enum class Pull { kNotAsked, kNotThere, kLookAgain };

/// kLookAgain: look into the store again. Only names of ours are asked for, and only when the agent set a
/// budget (StoreControl::pull_budget_us): the calling thread waits that long at most. At most kMaxPulls
/// threads of a process wait at once, and a name that was not found is not asked for again for kNotAgainMs. A
/// socket for each question: nothing is left open in a server that forks, closes descriptors and reloads as
/// it likes.
inline constexpr int kMaxPulls = 4;
inline constexpr uint32_t kNotAgainMs = 1000;
Pull pull(const Store& store, const SessionName& name, TlsVersion tls_version, uint16_t service_slot);

}  // namespace keyrail::hooks
