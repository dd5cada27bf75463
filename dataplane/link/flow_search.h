// SPDX-License-Identifier: Apache-2.0
// keyraild's question which flows a client has (dataplane/explain/find_flows.h): goes through the client's
// ports, batch by batch. The control thread's.
#pragma once

#include <functional>

#include "dataplane/link/worker_tasks.h"
#include "link.pb.h"

namespace keyrail {

class FlowSearch {
  public:
    using Answer = std::function<void(Result<link::FlowsFound>)>;
    static constexpr int kMostPlaces = 32, kMostFlows = 1000;

    FlowSearch(const Shared& shared, WorkerTasks& tasks) : shared_(shared), tasks_(tasks) {}
    /// `answer` is called once, now or from WorkerTasks::look().
    void ask(const link::FlowsRequest& request, Answer answer);

  private:
    struct Question;
    void next_batch(const std::shared_ptr<Question>& question);
    void took(const std::shared_ptr<Question>& question);

    const Shared& shared_;
    WorkerTasks& tasks_;
};

}  // namespace keyrail
