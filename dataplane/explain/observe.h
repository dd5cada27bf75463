// SPDX-License-Identifier: Apache-2.0
// What a worker knows of one connection, and of the time: copied for the control thread, between two turns of
// the worker, whose tables nobody else may read.
#pragma once

#include <optional>

#include "dataplane/core/context.h"

namespace keyrail::explain {

struct Observed {
    bool made = false;
    uint16_t worker = 0;
    Clock clock;
    Mtus mtus;
    uint32_t began_tai_ms = 0;
    uint64_t alone_at_us = 0;
    std::optional<Flow> flow;   // in its flow table
    BladeId recent_syn = 0;     // that the connection's SYN was given to; 0: none
    bool bare_syn = false;      // a SYN without timestamps got a cookie
    bool many_guesses = false;  // of cookies without timestamps, for the service
    std::optional<HoldPhase> hold;
    BladeId hold_target = 0;  // moving: the blade that waits for the session
};

/// By the connection's tuple, as its client names it. Changes nothing.
Observed observe(const Headers& connection, Context& context);

/// The same as a task of a worker.
struct ObserveTask : WorkerTask {
    explicit ObserveTask(const Headers& of) : connection(of) {
        run = [](WorkerTask& task, Context& context) {
            auto& mine = static_cast<ObserveTask&>(task);
            mine.observed = observe(mine.connection, context);
        };
    }
    Headers connection;
    Observed observed;
};

}  // namespace keyrail::explain
