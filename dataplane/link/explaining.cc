// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/explaining.h"

#include "dataplane/explain/explain.h"

namespace keyrail {

struct Explaining::Question {
    link::ExplainRequest request;
    Headers connection;
    Answer answer;
    std::vector<std::shared_ptr<explain::ObserveTask>> tasks;
    size_t missing = 0;
};

void Explaining::ask(const link::ExplainRequest& request, Answer answer) {
    const auto connection = explain::connection_of(request);
    if (!connection) return answer(tl::make_unexpected(connection.error()));
    if (pipeline_ == nullptr) return answer(fail("this keyrail-dp explains nothing"));
    auto question =
        std::make_shared<Question>(Question{request, *connection, std::move(answer), {}, shared_.workers});
    for (uint16_t worker = 0; worker < shared_.workers; worker++)
        question->tasks.push_back(std::make_shared<explain::ObserveTask>(*connection));
    for (uint16_t worker = 0; worker < shared_.workers; worker++) {
        const bool given = tasks_.give(worker, question->tasks[worker], [this, question] {
            if (--question->missing == 0) question->answer(explained(*question));
        });
        if (!given) return question->answer(fail("worker {} does not answer", worker));
    }
}

Result<link::Explained> Explaining::explained(const Question& question) {
    const Snapshot* const snapshot = shared_.snapshot.load();
    if (snapshot == nullptr) return fail("there is no configuration yet");
    if (!shadow_) {
        auto made = explain::Shadow::create(shared_, ports_, pipeline_);
        if (!made) return tl::make_unexpected(made.error());
        shadow_ = std::move(*made);
    }
    std::vector<explain::Observed> seen;
    for (const auto& task : question.tasks) seen.push_back(task->observed);
    return explain::explain(*shadow_, question.request, question.connection, *snapshot, seen);
}

}  // namespace keyrail
