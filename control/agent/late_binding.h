// SPDX-License-Identifier: Apache-2.0
// Late binding on this blade: attaches the accept program as soon as kernel and settings allow it, and tells
// it which cookie keys and services hold. Until then the blade is bound early, and says why.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/agent/accept_program.h"
#include "control/agent/config.h"

namespace keyrail {

struct Assignment;

class LateBinding {
  public:
    /// Does nothing yet.
    explicit LateBinding(const AgentConfig& config)
        : wanted_(config.accept_program), interface_(config.interface), bpffs_(config.bpffs) {}

    /// Wanted, possible with this kernel, and not attached yet: attach() may help.
    [[nodiscard]] bool pending() const { return wanted_ && !program_; }
    /// Checks and attaches. `assigned`: what the program goes by from the start; nullptr: nothing is known.
    void attach(const Assignment* assigned);
    /// keyraild assigned something else.
    void program(const Assignment& assigned);

    [[nodiscard]] bool attached() const { return program_.has_value(); }
    /// Why it is not, a sentence each.
    [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }

  private:
    bool wanted_;
    std::string interface_;
    std::filesystem::path bpffs_;
    std::optional<AcceptProgram> program_;
    std::vector<std::string> problems_;
};

}  // namespace keyrail
