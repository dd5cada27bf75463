// SPDX-License-Identifier: Apache-2.0
// The operator's trace: gives each worker a Tracer, carries what they tell to keyraild, and takes them away
// again: after so many packets or seconds, or when keyraild is gone. The control thread's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/io/ports.h"
#include "dataplane/link/event_loop.h"
#include "dataplane/link/worker_tasks.h"
#include "dataplane/trace/tracer.h"
#include "link.pb.h"

namespace keyrail {

class TraceRun {
  public:
    static constexpr uint32_t kMostPackets = 20'000, kMostCaptured = 10'000, kMostSeconds = 3600,
                              kMostSnap = 2048;

    /// `send` says whether the message has gone; what has not is sent again a moment later. All of them
    /// outlive this.
    TraceRun(EventLoop& loop, const Shared& shared, const Ports& ports, WorkerTasks& tasks,
             std::function<bool(const link::FromDataplane&)> send);
    ~TraceRun();
    TraceRun(const TraceRun&) = delete;
    TraceRun& operator=(const TraceRun&) = delete;

    /// Errors: what is wrong with it, or that there is a trace.
    Result<void> start(const link::TraceStart& wish);
    void stop(std::string why);
    /// Nobody is there any more to be told.
    void abandon();

  private:
    using Clock = std::chrono::steady_clock;
    enum class State : uint8_t { idle, running, stopping, stopped };
    static constexpr std::chrono::milliseconds kPeriod{50};
    static constexpr int kAtOnce = 200, kCapturedAtOnce = 100;  // records of a message

    void every_moment();
    bool send_records();
    void add(link::TraceRecords& records, uint16_t worker, const trace::TracedPacket& record,
             std::span<const uint8_t> frame);
    void forget();

    EventLoop& loop_;
    const Shared& shared_;
    const Ports& ports_;
    WorkerTasks& tasks_;
    const std::function<bool(const link::FromDataplane&)> send_;
    Descriptor timer_;
    State state_ = State::idle;
    bool heard_ = false;  // somebody is told
    std::shared_ptr<Tracer::Limits> limits_;
    std::vector<std::shared_ptr<Tracer>> tracers_;
    Clock::time_point ends_;
    std::string why_;
    std::optional<link::FromDataplane> unsent_;
};

}  // namespace keyrail
