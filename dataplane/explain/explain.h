// SPDX-License-Identifier: Apache-2.0
// What would become of a new connection, and why (`keyrail explain`): a client that does not exist sends its
// SYN, its acknowledgement and its ClientHello through the packet path itself, in a shadow of the worker that
// would get them (shadow.h). There is no second implementation of any decision: the words below are read off
// what the packet path left behind.
#pragma once

#include <span>

#include "dataplane/explain/client.h"
#include "dataplane/explain/shadow.h"

namespace keyrail::link {
class ExplainRequest;
class Explained;
}  // namespace keyrail::link

namespace keyrail::explain {

/// The connection that is asked about, checked.
Result<Headers> connection_of(const link::ExplainRequest& request);

/// `seen`: by each worker, in their order; of a connection that one of them has in its flow table, that one
/// counts, else its owner. Errors: what is wrong with the request, or missing.
Result<link::Explained> explain(Shadow& shadow, const link::ExplainRequest& request,
                                const Headers& connection, const Snapshot& snapshot,
                                std::span<const Observed> seen);

/// Why this blade does not get the hello that was decided about; "" where it does. `outcome` has a hello.
std::string why_not(BladeId blade, const PendingHello& hello, const Snapshot& snapshot);

}  // namespace keyrail::explain
