// SPDX-License-Identifier: Apache-2.0
// What keyraild's counters of moves count, said once (as dataplane/common/counters.h does for the workers').
#pragma once

#include <array>

#include "control/daemon/moves/orders.h"
#include "dataplane/common/counters.h"

namespace keyrail {

struct MoveCounter {
    CounterText text;
    uint64_t MoveCounters::* value;
};

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

}  // namespace keyrail
