// SPDX-License-Identifier: Apache-2.0
// Tasks of workers (core/shared.h), in their order: each worker has one at a time, and does it between two of
// its turns. The control thread's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "dataplane/core/shared.h"

namespace keyrail {

class WorkerTasks {
  public:
    explicit WorkerTasks(Shared& shared) : shared_(shared), queues_(shared.workers) {}

    /// `done` is called by look(), once the worker has done it. A worker that stands still keeps its task:
    /// nobody else may have it then. False: too many wait.
    bool give(uint16_t worker, std::shared_ptr<WorkerTask> task, std::function<void()> done);
    /// Who has done what; to be called when a worker has woken the control thread, and now and then.
    void look();
    /// Nobody waits for what has not been done yet; it is done all the same.
    void forget();

  private:
    static constexpr size_t kMost = 256;
    struct Entry {
        std::shared_ptr<WorkerTask> task;
        std::function<void()> done;
    };
    void start(uint16_t worker);

    Shared& shared_;
    std::vector<std::deque<Entry>> queues_;  // the first one of each is the worker's
};

}  // namespace keyrail
