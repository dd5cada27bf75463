// SPDX-License-Identifier: Apache-2.0
// Continuance: what the agents are told about live connections of a blade that drains until a deadline
// (chassis.Drain). Pure: blades and the time come in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "control/daemon/blades/blades.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Continuance {
  public:
    struct Stage {
        bool renew_tickets = false;  // from the start of the drain
        bool close_idle = false;     // from its deadline on
        bool operator==(const Stage&) const = default;
    };

    /// What this blade's agent is to be told now; nullopt: it knows.
    std::optional<Stage> pending_update(const Blade& blade, uint64_t now_ms);
    /// Its agent is gone: the next one is told again.
    void forget(BladeId blade) { told_.erase(blade); }

  private:
    std::map<BladeId, Stage> told_;
};

}  // namespace keyrail
