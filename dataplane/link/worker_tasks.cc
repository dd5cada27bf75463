// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/worker_tasks.h"

#include <unistd.h>

namespace keyrail {

bool WorkerTasks::give(uint16_t worker, std::shared_ptr<WorkerTask> task, std::function<void()> done) {
    auto& queue = queues_[worker];
    if (queue.size() >= kMost) return false;
    queue.push_back({std::move(task), std::move(done)});
    if (queue.size() == 1) start(worker);
    return true;
}

void WorkerTasks::start(uint16_t worker) {
    shared_.tasks[worker].store(queues_[worker].front().task.get(), std::memory_order_release);
    if (shared_.wake_worker[worker] < 0) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(shared_.wake_worker[worker], &one, sizeof one);
}

void WorkerTasks::look() {
    for (uint16_t worker = 0; worker < queues_.size(); worker++) {
        auto& queue = queues_[worker];
        while (!queue.empty() && shared_.tasks[worker].load(std::memory_order_acquire) == nullptr) {
            const Entry entry = std::move(queue.front());
            queue.pop_front();
            if (!queue.empty()) start(worker);
            if (entry.done) entry.done();  // may give another one
        }
    }
}

void WorkerTasks::forget() {
    for (auto& queue : queues_)
        for (Entry& entry : queue) entry.done = nullptr;
}

}  // namespace keyrail
