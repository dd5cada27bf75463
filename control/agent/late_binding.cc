// SPDX-License-Identifier: Apache-2.0
#include "control/agent/late_binding.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <utility>

#include "control/agent/assignment.h"
#include "control/agent/kernel_checks.h"

namespace keyrail {

void LateBinding::attach(const Assignment* assigned) {
    problems_.clear();
    if (const auto kernel = check_kernel(); !kernel) {
        problems_.push_back(kernel.error().message);
        wanted_ = false;  // a running kernel does not change, and the check is expensive
    } else {
        problems_ = sysctl_problems();
    }
    if (problems_.empty()) {
        if (auto attached = AcceptProgram::attach(interface_, bpffs_)) {
            program_.emplace(std::move(*attached));
            spdlog::info("accept program attached to {}", interface_);
            if (assigned != nullptr) program(*assigned);
        } else {
            problems_.push_back(attached.error().message);
        }
    }
    for (const std::string& problem : problems_) spdlog::warn("no late binding on this blade: {}", problem);
}

/// What is the matter now? True: that is something else than before.
bool LateBinding::judge() {
    std::vector<std::string> problems = sysctl_problems();
    const auto lost = probes_.problem();
    if (std::exchange(seen_by_probes_, lost.has_value()) && !lost) {  // then they see its end, too
        watch_ = {};
        lost_.reset();
    }
    if (lost || lost_) problems.push_back(lost ? *lost : *lost_);
    if (problems == problems_) return false;
    problems_ = std::move(problems);
    for (const std::string& problem : problems_) spdlog::warn("no late binding on this blade: {}", problem);
    if (problems_.empty()) spdlog::info("late binding works on this blade again");
    return true;
}

/// In turn.
void LateBinding::probe_one() {
    if (listening_.empty()) return;
    auto next = listening_.upper_bound(last_probed_);
    if (next == listening_.end()) next = listening_.begin();
    last_probed_ = *next;
    probes_.saw(*next, probe_.probe(*program_, *next));
}

void LateBinding::probe_all(bool new_ones_only) {
    constexpr int kAtOnce = 16;  // what else there is waits for its turn
    int probed = 0;
    for (const HostPort& server : listening_) {
        if ((new_ones_only && probes_.known(server)) || ++probed > kAtOnce) continue;
        for (int i = 0; i < ProbeResults::kLost; i++) {
            const auto outcome = probe_.probe(*program_, server);
            probes_.saw(server, outcome);
            if (outcome != AcceptProbe::Outcome::lost) break;
        }
    }
}

bool LateBinding::servers(const std::set<HostPort>& listening) {
    listening_ = listening;
    if (!program_) return false;
    probes_.keep(listening);
    probe_all(true);
    return judge();
}

/// Sets with timeouts and tools that ban addresses change it many times a second: look() does the rest.
bool LateBinding::filter_changed() {
    if (!program_) return false;
    if (std::exchange(filter_probed_, true)) {
        filter_changed_ = true;
        return false;
    }
    probe_all(false);
    return judge();
}

bool LateBinding::look(uint64_t own_connections, std::chrono::steady_clock::time_point now) {
    constexpr unsigned kProbeEvery = 2;
    if (!program_) return false;  // attach() looks
    filter_probed_ = false;
    if (std::exchange(filter_changed_, false)) probe_all(false);
    const std::vector<HostPort> doubtful = probes_.doubtful();
    if (!doubtful.empty())
        probes_.saw(doubtful[looks_ % doubtful.size()],
                    probe_.probe(*program_, doubtful[looks_ % doubtful.size()]));
    else if (looks_ % kProbeEvery == 0)
        probe_one();
    looks_++;
    const AcceptProgram::Counters counters = program_->counters();
    lost_ = watch_.look(counters[KR_ACCEPT_ASSIGNED], connections_opened() - own_connections, now);
    return judge();
}

std::vector<std::pair<std::string, uint64_t>> LateBinding::counts() const {
#define X(NAME, name, text) #name,
    static constexpr std::array kReasons = {KR_ACCEPT_REASON_LIST(X)};
#undef X
    static_assert(kReasons.size() == KR_ACCEPT_REASONS);
    if (!program_) return {};
    const AcceptProgram::Counters counters = program_->counters();
    std::vector<std::pair<std::string, uint64_t>> all;
    for (size_t i = 0; i < kReasons.size(); i++) all.emplace_back(kReasons[i], counters[i]);
    return all;
}

void LateBinding::clock(uint64_t tai_ms) {
    if (!program_ || tai_ms == 0) return;
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    const auto here = std::chrono::duration_cast<DispatcherClock::Ms>(std::chrono::seconds(now.tv_sec) +
                                                                      std::chrono::nanoseconds(now.tv_nsec));
    const auto ahead = clock_.told(DispatcherClock::Ms(tai_ms), here);
    if (auto set = program_->set_clock(ahead); !set) spdlog::error("accept program: {}", set.error().message);
}

void LateBinding::program(const Assignment& assigned) {
    if (!program_) return;
    auto set = program_->set_keys(assigned.cookie_keys);
    if (set) set = program_->set_services(assigned.held);
    if (!set) spdlog::error("accept program: {}", set.error().message);
}

}  // namespace keyrail
