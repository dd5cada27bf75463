// SPDX-License-Identifier: Apache-2.0
// A session on its way between agents: chassis.Record <-> the store's record.
#pragma once

#include <cstdint>
#include <set>

#include "control/agent/store.h"
#include "control/protocol/result.h"

namespace keyrail {

namespace chassis {
class Record;
}

/// `out` carries secrets: send it with a Channel, which wipes it.
void to_message(const SessionRecord& record, chassis::Record& out);

/// Takes over what another blade sent, or says in a sentence why it cannot be right: sizes, TLS version,
/// times, a port that is not in `ports` (the service ports of this blade; a record whose port is 0 does not
/// know its own).
Result<void> from_message(const chassis::Record& message, const std::set<uint16_t>& ports, uint64_t now_ms,
                          SessionRecord& out);

}  // namespace keyrail
