// SPDX-License-Identifier: Apache-2.0
// How this blade is (chassis.Health): its servers, load, sessions, and what handshakes and moves cost.
#pragma once

#include <cstdint>

#include "control/agent/late_binding.h"
#include "control/agent/load.h"
#include "control/agent/move_meter.h"
#include "control/agent/mover.h"
#include "control/agent/records.h"
#include "control/agent/server_check.h"
#include "control/agent/server_watch.h"

namespace keyrail {

class HealthReport {
  public:
    /// Both outlive this.
    HealthReport(const Store& store, const ServedServices& served) : store_(store), served_(served) {}

    /// Call it every second, with the number of moves so far.
    void measure(uint64_t moves);
    /// `keys_version`: of the Keys that this agent goes by; 0: none.
    [[nodiscard]] chassis::Envelope message(const ServerWatch::Servers& servers,
                                            const ServerCheck::Verdicts& verdicts,
                                            const LateBinding& late_binding, uint64_t keys_version,
                                            const Mover::Cost& moves) const;

  private:
    void add_costs(chassis::Health& health) const;

    const Store& store_;
    const ServedServices& served_;
    LoadMeter load_;
    MoveMeter move_meter_;
};

}  // namespace keyrail
