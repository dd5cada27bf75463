// SPDX-License-Identifier: Apache-2.0
#include "control/agent/late_binding.h"

#include <spdlog/spdlog.h>

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

void LateBinding::program(const Assignment& assigned) {
    if (!program_) return;
    auto set = program_->set_keys(assigned.cookie_keys);
    if (set) set = program_->set_services(assigned.held);
    if (!set) spdlog::error("accept program: {}", set.error().message);
}

}  // namespace keyrail
