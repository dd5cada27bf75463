// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/event_loop.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace keyrail {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : signals) sigaddset(&set, signal);
    return set;
}

}  // namespace

void block_signals(std::initializer_list<int> signals) {
    const sigset_t set = set_of(signals);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<EventLoop> EventLoop::create() {
    EventLoop loop;
    loop.epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    if (!loop.epoll_) return fail("epoll: {}", strerror(errno));
    return loop;
}

Result<void> EventLoop::watch(int fd, std::function<void()> on_readable) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail("epoll: {}", strerror(errno));
    handlers_[fd] = std::move(on_readable);
    return {};
}

void EventLoop::forget(int fd) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    handlers_.erase(fd);
}

Result<void> EventLoop::watch_clock(std::function<void()> every_second) {
    Descriptor timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    const itimerspec period{.it_interval = {.tv_sec = 1, .tv_nsec = 0},
                            .it_value = {.tv_sec = 1, .tv_nsec = 0}};
    if (!timer || timerfd_settime(timer.get(), 0, &period, nullptr) != 0)
        return fail("timer: {}", strerror(errno));
    const int descriptor = timers_.emplace_back(std::move(timer)).get();
    return watch(descriptor, [fd = descriptor, call = std::move(every_second)] {
        uint64_t expirations = 0;
        if (read(fd, &expirations, sizeof expirations) > 0) call();
    });
}

Result<void> EventLoop::stop_at(std::initializer_list<int> signals) {
    const sigset_t set = set_of(signals);
    signals_ = Descriptor(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!signals_) return fail("signalfd: {}", strerror(errno));
    return watch(signals_.get(), [this] { running_ = false; });
}

int EventLoop::wait(epoll_event* events, int most) {
    while (soon_until_ != std::chrono::steady_clock::time_point{} &&
           std::chrono::steady_clock::now() < soon_until_) {
        const int count = epoll_wait(epoll_.get(), events, most, 0);
        if (count != 0) return count;
        sched_yield();
    }
    nothing_soon();
    return epoll_wait(epoll_.get(), events, most, -1);
}

void EventLoop::run(Urgency* urgency) {
    running_ = true;
    std::array<epoll_event, 16> events;
    while (running_) {
        // Interrupted often: net_tap signals each packet from the kernel by SIGIO.
        const int count = wait(events.data(), static_cast<int>(events.size()));
        for (int i = 0; i < count && running_; ++i) {
            const auto handler = handlers_.find(events[static_cast<size_t>(i)].data.fd);
            if (handler == handlers_.end()) continue;  // forgotten by a handler before it
            const auto call = handler->second;         // a copy: it may forget itself
            call();
        }
        if (urgency != nullptr) urgency->look();
    }
}

}  // namespace keyrail
