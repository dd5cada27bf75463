// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/watchdog.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <fstream>
#include <utility>

#include "dataplane/link/backtrace.h"

namespace keyrail {
namespace {

constexpr std::chrono::milliseconds kPatience{100};  // of a signal

}  // namespace

ThreadState state_of(int thread) {
    const std::string task = "/proc/self/task/" + std::to_string(thread);
    ThreadState state;
    std::string stat;
    std::getline(std::ifstream(task + "/stat"), stat);
    const size_t name_end = stat.rfind(')');  // the name may hold anything
    if (name_end != std::string::npos && name_end + 2 < stat.size()) state.letter = stat[name_end + 2];
    // Not from schedstat, which lags by a second on cores without ticks: this clock is brought up to date.
    constexpr clockid_t kOfThread = 4, kScheduled = 2;  // as the kernel makes a CPU clock of a thread
                                                        // (clock_getcpuclockid(3) makes one of a process)
    timespec time{};
    if (clock_gettime((~static_cast<clockid_t>(thread) << 3) | kOfThread | kScheduled, &time) == 0)
        state.cpu_ns =
            static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
    return state;
}

Standstill::Found Standstill::look(uint64_t turns, const ThreadState& thread) {
    constexpr uint64_t kLeastNs = std::chrono::nanoseconds(kLook).count();  // of kLooks times that
    if (turns != turns_ || thread.letter == 0) {
        *this = {};
        turns_ = turns;
        cpu_ns_ = thread.cpu_ns;
        return Found::moves;
    }
    if (++looks_ < kLooks) return Found::moves;
    const bool wants_to_run = thread.letter == 'R' && thread.cpu_ns - cpu_ns_ < kLeastNs;
    return wants_to_run ? Found::starved : Found::still;
}

Watchdog::Watchdog(std::vector<const WorkerStats*> workers, const Shared& shared,
                   std::function<void(uint16_t, const std::vector<std::string>&)> still)
    : workers_(std::move(workers)),
      shared_(shared),
      still_(std::move(still)),
      standstills_(workers_.size()),
      found_(workers_.size(), Standstill::Found::moves) {
    prepare_backtraces();
    thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
    {
        const std::scoped_lock lock(mutex_);
        end_ = true;
    }
    ended_.notify_all();
    thread_.join();
}

void Watchdog::run() {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, Standstill::kLook, [this] { return end_; }))
        for (uint16_t worker = 0; worker < workers_.size(); worker++) look_at(worker);
}

void Watchdog::look_at(uint16_t worker) {
    const int thread = shared_.worker_thread[worker].load();
    if (thread == 0) return;  // it has not begun
    const Standstill::Found found =
        standstills_[worker].look(workers_[worker]->turns.get(), state_of(thread));
    if (std::exchange(found_[worker], found) == found) return;
    if (found == Standstill::Found::starved)
        SPDLOG_WARN("worker {} wants to run and gets no CPU: give it one of its own (worker.cores)", worker);
    if (found == Standstill::Found::still) still_(worker, trace_of(thread, kPatience));
}

}  // namespace keyrail
