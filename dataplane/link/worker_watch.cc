// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/worker_watch.h"

#include <utility>

namespace keyrail {

WorkerWatch::WorkerWatch(std::vector<const WorkerStats*> workers) : workers_(std::move(workers)) {}

std::optional<uint16_t> WorkerWatch::stuck() {
    std::optional<uint16_t> found;
    std::vector<uint64_t> now;
    now.reserve(workers_.size());
    for (const WorkerStats* worker : workers_) now.push_back(worker->turns.get());
    for (size_t i = 0; i < turns_.size() && !found; i++)
        if (now[i] == turns_[i]) found = static_cast<uint16_t>(i);
    turns_ = std::move(now);
    return found;
}

}  // namespace keyrail
