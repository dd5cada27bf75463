// SPDX-License-Identifier: Apache-2.0
// What keyraild's own counters count, declared once (dataplane/common/counters.h does it for keyrail-dp's).
#pragma once

#include <array>

#include "control/daemon/blades/blades.h"
#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/orders.h"
#include "control/repository/repository_queue.h"
#include "dataplane/common/counters.h"

namespace keyrail {

using MoveCounter = CounterOf<MoveCounters>;
inline constexpr std::array kMoveCounters = {
    MoveCounter{{"asked", CounterKind::total, "moves", "that were wanted"}, &MoveCounters::asked},
    MoveCounter{{"joined", CounterKind::total, "moves", "of these: the session was under way already"},
                &MoveCounters::joined},
    MoveCounter{{"ordered", CounterKind::total, "moves", "of these: orders given to holders"},
                &MoveCounters::ordered},
    MoveCounter{{"refused_not_authorised", CounterKind::total, "moves",
                 "refused, for a blade asked that does not serve the session's service"},
                &MoveCounters::not_authorised},
    MoveCounter{
        {"transfers_refused", CounterKind::total, "sessions",
         "that a blade sent to another one and that were refused there: keyraild had not announced them"},
        &MoveCounters::transfers_refused},
    MoveCounter{{"announced_in_vain", CounterKind::total, "sessions",
                 "that a blade claimed to have: no order brought them there"},
                &MoveCounters::announced_in_vain},
    MoveCounter{{"late", CounterKind::total, "moves", "acknowledged when the hold budget was spent"},
                &MoveCounters::late},
};

inline constexpr CounterText kMovesUnderWay{"under_way", CounterKind::gauge, "moves",
                                            "ordered and not yet acknowledged"};

/// As the blade's agent reports them.
using BladeCounter = CounterOf<Blade>;
inline constexpr std::array kBladeCounters = {
    BladeCounter{{"sessions", CounterKind::gauge, "sessions", "in the blade's store"}, &Blade::sessions},
    BladeCounter{{"store_bytes", CounterKind::gauge, "bytes", "of memory that they take"},
                 &Blade::store_bytes},
};
/// By how they ended: one metric, with the name as its label.
inline constexpr std::array kBladeHandshakes = {
    BladeCounter{{"resumed", CounterKind::total, "handshakes", "since the store was made: resumed"},
                 &Blade::resumed},
    BladeCounter{{"full", CounterKind::total, "handshakes", "since the store was made: full"}, &Blade::full},
};
/// As keyrail-dp counts them.
inline constexpr CounterText kBladeFlows{"flows", CounterKind::total, "connections", "given to the blade"};
/// Of a service and TLS version.
inline constexpr CounterText kHoldsLonger{"longer_than_saving", CounterKind::total, "holds",
                                          "that took longer than a full handshake would have"};

using CheckpointCounter = CounterOf<CheckpointCounters>;
inline constexpr std::array kCheckpointCounters = {
    CheckpointCounter{{"sessions", CounterKind::gauge, "sessions", "whose latest state is known"},
                      &CheckpointCounters::sessions},
    CheckpointCounter{{"reported", CounterKind::total, "states", "of sessions that agents reported"},
                      &CheckpointCounters::reported},
    CheckpointCounter{{"stale", CounterKind::total, "copies", "of sessions that agents were told to destroy"},
                      &CheckpointCounters::stale},
    CheckpointCounter{{"restored", CounterKind::total, "sessions", "sent to a blade from a repository"},
                      &CheckpointCounters::restored},
    CheckpointCounter{{"refused", CounterKind::total, "sessions",
                       "found in a repository, but stale, perhaps used, or not for that blade"},
                      &CheckpointCounters::refused},
};

using RepositoryCounter = CounterOf<RepositoryStats>;
inline constexpr std::array kRepositoryCounters = {
    RepositoryCounter{{"stored", CounterKind::total, "changes", "made: sessions written"},
                      &RepositoryStats::stored},
    RepositoryCounter{{"removed", CounterKind::total, "changes", "made: sessions removed"},
                      &RepositoryStats::removed},
    RepositoryCounter{{"taken", CounterKind::total, "sessions", "looked for and found"},
                      &RepositoryStats::taken},
    RepositoryCounter{{"missed", CounterKind::total, "sessions", "looked for and not found"},
                      &RepositoryStats::missed},
    RepositoryCounter{{"waiting", CounterKind::gauge, "changes", "that wait to be made"},
                      &RepositoryStats::waiting},
    RepositoryCounter{{"lost", CounterKind::total, "changes", "for which there was no room"},
                      &RepositoryStats::lost},
    RepositoryCounter{{"failures", CounterKind::total, "calls", "that failed; changes are tried again"},
                      &RepositoryStats::failures},
};

}  // namespace keyrail
