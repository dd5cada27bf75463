// SPDX-License-Identifier: Apache-2.0
// Where a ClientHello goes, and why (DESIGN.md section 6). Pure: facts and tables in, decision out.
#pragma once

#include <cstring>

#include "dataplane/core/hello_facts.h"
#include "dataplane/core/snapshot.h"

namespace keyrail::steer {

/// Where Maglev's candidates for a hello are: by its session's name, not its connection, so that a client
/// that opens six connections at once gets one move, to one blade.
inline uint64_t ring_hash(const HelloFacts& hello, const Holder& holder) {
    if (holder.blade == 0) return hello.hash;
    uint64_t hash = 0;  // a name's tail is random: no hashing needed
    const SessionName& name = hello.names[holder.name];
    std::memcpy(&hash, &name[kSessionNameSize - sizeof hash], sizeof hash);
    return hash;
}

/// The first name of ours, and the blade that made it; blade 0: there is none.
Holder home_of(const HelloFacts& hello);

/// `control_up`: somebody is there who could order a move.
Decision decide(const HelloFacts& hello, const Snapshot& snapshot, const Holder& holder, bool control_up);

/// Fills in what resuming saves this client, and how long it may wait for that.
void weigh(Wait& wait, const HelloFacts& hello, const Service& service);

/// What becomes of a decision to move whose client would wait longer than a full handshake takes it.
Decision without_move(const Decision& decision, const HelloFacts& hello, const Snapshot& snapshot,
                      const Holder& holder);
/// Is a client that waits like this better off with a full handshake?
inline bool too_long(const Wait& wait) { return wait.expected > wait.budget; }

}  // namespace keyrail::steer
