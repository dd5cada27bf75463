// SPDX-License-Identifier: Apache-2.0
// Drains put to work: lists by the agents, moves by the order table, a clock.
#pragma once

#include <asio/any_io_executor.hpp>
#include <memory>

#include "control/daemon/blades/agents.h"
#include "control/daemon/blades/blades.h"
#include "control/daemon/moves/drains.h"
#include "control/daemon/moves/moves.h"
#include "control/protocol/timer.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Draining : private DrainHost {
  public:
    /// All of them outlive this.
    Draining(asio::any_io_executor executor, const Blades& blades, Agents& agents, Moves& moves);

    /// Begins what is to be drained and ends what is not, as `blades` says now. Call it after every change.
    void sync();
    void stop();
    void moved(BladeId blade, MoveResult result) { drains_->moved(blade, result); }
    [[nodiscard]] const DrainProgress* progress(BladeId blade) const { return drains_->progress(blade); }

  private:
    bool list(BladeId blade, uint64_t cursor, uint32_t most, bool lately) override;
    std::optional<BladeId> target(BladeId from, const SessionName& name, const std::string& service) override;
    void move(BladeId from, BladeId to, const SessionName& name, const std::string& service) override;
    [[nodiscard]] bool client_waits() const override { return moves_.orders().clients_waiting() > 0; }
    static asio::awaitable<void> list(std::weak_ptr<Drains> drains, Agents& agents, BladeId blade,
                                      uint64_t cursor, uint32_t most, bool lately);
    void tick();

    asio::any_io_executor executor_;
    const Blades& blades_;
    Agents& agents_;
    Moves& moves_;
    std::shared_ptr<Drains> drains_ =
        std::make_shared<Drains>(static_cast<DrainHost&>(*this));  // a list may come when we are gone
    Timer timer_;
};

}  // namespace keyrail
