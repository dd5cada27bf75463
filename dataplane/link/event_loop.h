// SPDX-License-Identifier: Apache-2.0
// The control thread's loop: file descriptors that become readable, and what is called then.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <initializer_list>
#include <map>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/common/urgency.h"
#include "dataplane/link/seqpacket.h"

namespace keyrail {

class EventLoop {
  public:
    static Result<EventLoop> create();

    /// `on_readable` must not block; it may add and remove descriptors, its own included. The caller keeps
    /// owning `fd`.
    Result<void> watch(int fd, std::function<void()> on_readable);
    void forget(int fd);

    /// Calls `every_second` about once per second; who calls this again is called beside.
    Result<void> watch_clock(std::function<void()> every_second);
    /// Ends `run` at one of these signals; they must be blocked in all threads.
    Result<void> stop_at(std::initializer_list<int> signals);

    /// `urgency`: of this thread; it is told of each wake-up. nullptr: there is none.
    void run(Urgency* urgency = nullptr);
    void stop() { running_ = false; }
    /// A client waits for what comes in a moment: it is looked for, for so long, rather than slept for and be
    /// woken by. Until nothing_soon(), or the time is over.
    static constexpr std::chrono::microseconds kSoon{400};
    void expect_soon() { soon_until_ = std::chrono::steady_clock::now() + kSoon; }
    void nothing_soon() { soon_until_ = {}; }

  private:
    Descriptor epoll_, signals_;
    std::vector<Descriptor> timers_;
    std::map<int, std::function<void()>> handlers_;
    int wait(epoll_event* events, int most);
    bool running_ = true;
    std::chrono::steady_clock::time_point soon_until_;
};

/// Blocks the signals in this thread and in those that it will start.
void block_signals(std::initializer_list<int> signals);

}  // namespace keyrail
