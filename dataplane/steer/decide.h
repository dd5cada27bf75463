// SPDX-License-Identifier: Apache-2.0
// Where a ClientHello goes, and why (DESIGN.md section 6). Pure: facts and tables in, decision out.
#pragma once

#include "dataplane/core/hello_facts.h"
#include "dataplane/core/snapshot.h"

namespace keyrail::steer {

/// The first name of ours, and the blade that made it; blade 0: there is none.
Holder home_of(const HelloFacts& hello);

/// `control_up`: somebody is there who could order a move.
Decision decide(const HelloFacts& hello, const Snapshot& snapshot, const Holder& holder, bool control_up);

}  // namespace keyrail::steer
