// SPDX-License-Identifier: Apache-2.0
#include "dataplane/common/urgency.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <mutex>

namespace keyrail {
namespace {

constexpr int kNice = -20;

int64_t now_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// Where the process may run, as the first urgent thread found it; none: nobody is urgent.
cpu_set_t& allowed() {
    static cpu_set_t set = [] {
        cpu_set_t none;
        CPU_ZERO(&none);
        return none;
    }();
    return set;
}
std::mutex allowed_mutex;

/// Of this thread. Round robin among its equals, of the lowest real-time priority.
bool set_policy(bool real_time) {
    sched_param parameter{};
    parameter.sched_priority = real_time ? sched_get_priority_min(SCHED_RR) : 0;
    const int policy = real_time ? SCHED_RR : SCHED_OTHER;
    return sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &parameter) == 0;
}

bool set_nice(bool urgent) {
    return set_policy(false) &&
           setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), urgent ? kNice : 0) == 0;
}

/// The budget is looked at between wake-ups. A thread that comes to no end at all meets this limit of the
/// kernel's own: it counts the CPU time of a real-time thread since it last slept, and signals that thread,
/// which is normal from then on until it looks again.
constexpr rlim_t kNeverSleepsUs = 200'000;

extern "C" void on_never_sleeps(int /*signal*/) {
    const sched_param normal{};
    sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &normal);  // without the flag it may not
}

void limit_never_sleeping() {
    struct sigaction action{};
    action.sa_handler = on_never_sleeps;
    action.sa_flags = SA_RESTART;
    sigaction(SIGXCPU, &action, nullptr);
    rlimit limit{};
    if (getrlimit(RLIMIT_RTTIME, &limit) != 0) return;
    limit.rlim_cur = std::min(limit.rlim_max, kNeverSleepsUs);
    setrlimit(RLIMIT_RTTIME, &limit);
}

}  // namespace

void run_anywhere() {
    const std::scoped_lock lock(allowed_mutex);
    if (CPU_COUNT(&allowed()) > 0) sched_setaffinity(0, sizeof(cpu_set_t), &allowed());
}

Urgency::Urgency(double share, std::optional<unsigned> core)
    : budget_(share, std::chrono::nanoseconds(kBurst).count()),
      last_ns_(now_ns(CLOCK_MONOTONIC)),
      last_cpu_ns_(now_ns(CLOCK_THREAD_CPUTIME_ID)) {
    limit_never_sleeping();
    sched_getaffinity(0, sizeof anywhere_, &anywhere_);
    {
        const std::scoped_lock lock(allowed_mutex);
        if (CPU_COUNT(&allowed()) == 0) allowed() = anywhere_;
    }
    there_ = anywhere_;
    const bool usable = core && *core < CPU_SETSIZE && CPU_ISSET(*core, &anywhere_);
    if (usable) {
        CPU_ZERO(&there_);
        CPU_SET(*core, &there_);
    }
    for (const Means means : {Means::real_time, Means::nice}) {
        means_ = means;
        if (set(true)) break;
        means_ = Means::none;
    }
    text_ = means_ == Means::real_time ? "real-time"
            : means_ == Means::nice    ? "nice -20"
                                       : "normal priority: neither CAP_SYS_NICE nor RLIMIT_RTPRIO";
    if (core)
        text_ += fmt::format("{}core {}{}", usable ? ", " : "; ", *core,
                             usable ? "" : " is not one of this process's");
}

Urgency::~Urgency() {
    if (urgent_) set(false);
}

void Urgency::gather(bool urgent) const {
    if (CPU_EQUAL(&anywhere_, &there_) == 0)
        sched_setaffinity(0, sizeof there_, urgent ? &there_ : &anywhere_);
}

bool Urgency::set(bool urgent) {
    if (urgent && means_ == Means::real_time) limit_never_sleeping();  // the kernel raises it at each signal
    const bool done =
        means_ == Means::none || (means_ == Means::nice ? set_nice(urgent) : set_policy(urgent));
    if (done) urgent_ = urgent && means_ != Means::none;
    if (done && means_ != Means::none) gather(urgent);
    return done && means_ != Means::none;
}

void Urgency::look() {
    if (means_ == Means::none) return;
    const int64_t now = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    const bool may = budget_.spend(now - last_ns_, cpu - last_cpu_ns_);
    last_ns_ = now;
    last_cpu_ns_ = cpu;
    if (may != urgent_) set(may);
}

}  // namespace keyrail
