// SPDX-License-Identifier: Apache-2.0
// Late binding on this blade: attaches the accept program as soon as kernel and settings allow it, and tells
// it which cookie keys and services hold. Until then the blade is bound early, and says why; and again as
// soon as a setting changes, or connections that the program accepts get lost on their way to the server.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/agent/accept_probe.h"
#include "control/agent/accept_program.h"
#include "control/agent/accept_watch.h"
#include "control/agent/config.h"
#include "control/agent/dispatcher_clock.h"

namespace keyrail {

struct Assignment;

class LateBinding {
  public:
    /// Does nothing yet.
    explicit LateBinding(const AgentConfig& config)
        : wanted_(config.accept_program),
          interface_(config.interface),
          bpffs_(config.bpffs),
          probe_(config.interface, config.control.address) {}

    /// Wanted, possible with this kernel, and not attached yet: attach() may help.
    [[nodiscard]] bool pending() const { return wanted_ && !program_; }
    /// Checks and attaches. `assigned`: what the program goes by from the start; nullptr: nothing is known.
    void attach(const Assignment* assigned);
    /// keyraild said what its clock shows, in ms of TAI, which is how the accept program learns the time of
    /// cookies. 0: it did not.
    void clock(uint64_t tai_ms);
    /// keyraild assigned something else.
    void program(const Assignment& assigned);

    /// Once a second: looks again at what may change while it runs. True: works() or problems() did.
    /// `own_connections`: that this process has made to servers here.
    bool look(uint64_t own_connections, std::chrono::steady_clock::time_point now);

    /// These listen now: who is new is probed, before keyraild hears of it. True: works() or problems() did
    /// change.
    bool servers(const std::set<HostPort>& listening);

    /// The packet filter is another one: all are probed, at once or, when that was done since the last
    /// look(), by the next. True: likewise.
    bool filter_changed();

    [[nodiscard]] bool attached() const { return program_.has_value(); }
    /// Attached, and nothing is in its way.
    [[nodiscard]] bool works() const { return attached() && problems_.empty(); }
    /// Why it does not, a sentence each.
    [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }
    /// What the program has done, by reason; empty: it is not attached.
    [[nodiscard]] std::vector<std::pair<std::string, uint64_t>> counts() const;

  private:
    bool judge();
    void probe_one();
    void probe_all(bool new_ones_only);

    bool wanted_;
    std::string interface_;
    std::filesystem::path bpffs_;
    std::optional<AcceptProgram> program_;
    AcceptWatch watch_;
    std::optional<std::string> lost_;  // as `watch_` says
    AcceptProbe probe_;
    ProbeResults probes_;
    bool seen_by_probes_ = false;
    bool filter_probed_ = false;   // since the last look()
    bool filter_changed_ = false;  // after that
    std::set<HostPort> listening_;
    HostPort last_probed_{};
    unsigned looks_ = 0;
    std::vector<std::string> problems_;
    DispatcherClock clock_;
};

}  // namespace keyrail
