// SPDX-License-Identifier: Apache-2.0
// What keyraild hears first on a new connection: who this agent is (AgentHello), then which sessions are here
// although their home is another blade (Announce). From these keyraild learns its directory again.
#pragma once

#include "chassis.pb.h"
#include "control/agent/late_binding.h"
#include "control/store/store.h"

namespace keyrail {

class Announcer {
  public:
    /// All of them outlive this.
    Announcer(const AgentConfig& config, const Store& store, const LateBinding& late_binding)
        : config_(config), store_(store), late_binding_(late_binding) {}

    /// Who we are.
    [[nodiscard]] chassis::Envelope hello() const;

    /// Position in what is to be announced. Starts at the default value; done() after the last message.
    struct Walk {
        Store::Cursor cursor;
        bool begun = false;
        [[nodiscard]] bool done() const { return begun && cursor.done(); }
    };
    /// The next batch of sessions; the first one also where there is none.
    [[nodiscard]] chassis::Envelope next(Walk& walk) const;

  private:
    const AgentConfig& config_;
    const Store& store_;
    const LateBinding& late_binding_;
};

}  // namespace keyrail
