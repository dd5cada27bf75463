// SPDX-License-Identifier: Apache-2.0
// Questions of keyraild what would become of a connection: every worker says what it knows of it, then the
// shadow worker answers (dataplane/explain/explain.h).
#pragma once

#include <functional>
#include <memory>

#include "dataplane/explain/shadow.h"
#include "dataplane/io/ports.h"
#include "dataplane/link/worker_tasks.h"
#include "link.pb.h"

namespace keyrail {

class Explaining {
  public:
    using Answer = std::function<void(Result<link::Explained>)>;
    /// All of them outlive this. `pipeline` nullptr: nothing can be explained.
    Explaining(Shared& shared, const Ports& ports, WorkerTasks& tasks, explain::Pipeline pipeline)
        : shared_(shared), ports_(ports), tasks_(tasks), pipeline_(pipeline) {}

    /// `answer` is called once, now or from WorkerTasks::look().
    void ask(const link::ExplainRequest& request, Answer answer);

  private:
    struct Question;
    Result<link::Explained> explained(const Question& question);

    Shared& shared_;
    const Ports& ports_;
    WorkerTasks& tasks_;
    const explain::Pipeline pipeline_;
    std::unique_ptr<explain::Shadow> shadow_;  // from the first question on
};

}  // namespace keyrail
