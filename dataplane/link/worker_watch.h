// SPDX-License-Identifier: Apache-2.0
// Do all workers move? Each counts its turns, whether there were packets or not.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/common/stats.h"

namespace keyrail {

class WorkerWatch {
  public:
    /// By worker index; they outlive it.
    explicit WorkerWatch(std::vector<const WorkerStats*> workers);

    /// The first worker that has ended no turn since the last look; nullopt: all have. The first look finds
    /// nobody. A worker that naps for lack of packets ends a turn each millisecond.
    std::optional<uint16_t> stuck();

  private:
    std::vector<const WorkerStats*> workers_;
    std::vector<uint64_t> turns_;  // at the last look
};

}  // namespace keyrail
