// SPDX-License-Identifier: Apache-2.0
// A worker: one poll-mode thread that owns its flows, holds and counters, and runs packets to completion.
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/common/result.h"
#include "dataplane/common/stats.h"
#include "dataplane/core/shared.h"
#include "dataplane/flow/flow_memory.h"
#include "dataplane/io/ports.h"
#include "dataplane/profile/profile.h"

namespace keyrail {

class Worker {
  public:
    /// Allocates everything the worker will ever use (holds, ipsec-mb manager) but its flow table: `flows`
    /// outlives it, and the files of that.
    static Result<std::unique_ptr<Worker>> create(uint16_t index, const Profile& profile, const Ports& ports,
                                                  const FlowMemory& flows, Shared& shared);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Runs on the calling thread until shared.stop. Registers with shared.rcu by its index.
    void run();

    /// Safe from any thread while the worker runs (relaxed reads of its own counters).
    [[nodiscard]] const WorkerStats& stats() const;

  private:
    Worker();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
