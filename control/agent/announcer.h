// SPDX-License-Identifier: Apache-2.0
// What keyraild hears first on a new connection: who this agent is (AgentHello), then which sessions are here
// although their home is another blade (Announce). From these keyraild learns its directory again.
#pragma once

#include <asio/awaitable.hpp>

#include "control/agent/late_binding.h"
#include "control/protocol/channel.h"
#include "control/store/store.h"

namespace keyrail {

class Announcer {
  public:
    /// All of them outlive this.
    Announcer(const AgentConfig& config, const Store& store, const LateBinding& late_binding)
        : config_(config), store_(store), late_binding_(late_binding) {}

    /// False: the connection broke meanwhile; then this may be gone.
    asio::awaitable<bool> announce(ChannelPtr channel) const;

  private:
    [[nodiscard]] chassis::Envelope hello() const;

    const AgentConfig& config_;
    const Store& store_;
    const LateBinding& late_binding_;
};

}  // namespace keyrail
