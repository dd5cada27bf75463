// SPDX-License-Identifier: Apache-2.0
// Moves: from a wish of the dataplane to an order to the holder's agent, and from an agent's report to the
// directory and the dataplane. State table: control/protocol/README.md.
#pragma once

#include <cstdint>
#include <string>

#include "control/daemon/agents.h"
#include "control/daemon/config.h"
#include "control/daemon/dataplane_link.h"
#include "control/daemon/directory.h"
#include "control/daemon/orders.h"
#include "control/daemon/secrets.h"

namespace keyrail {

namespace chassis {
class Announce;
class MoveDone;
}  // namespace chassis

/// Where a session may be when its holder is dead, or does not have it any more.
class LastResort {
  public:
    virtual ~LastResort() = default;
    [[nodiscard]] virtual bool dead(uint16_t blade) const = 0;
    /// Is there a repository for sessions of this service?
    [[nodiscard]] virtual bool keeps(const std::string& service) const = 0;
    /// Looks for the order's session, and sends it to the target, which answers the order.
    virtual void restore(const MoveOrder& order) = 0;
};

class Moves {
  public:
    /// All of them outlive this.
    Moves(const Config& config, const Secrets& secrets, Agents& agents, DataplaneLink& dataplane,
          LastResort& last_resort);

    // --- the dataplane ---
    void request(const link::MoveRequest& request);
    /// The whole directory, replacing what the dataplane has. To be done when it has changed, once all agents
    /// have said what they hold.
    void send_directory();
    [[nodiscard]] bool directory_changed() const { return directory_changed_; }

    // --- agents ---
    void done(uint16_t blade, const chassis::MoveDone& done);
    void announce(uint16_t blade, const chassis::Announce& announce);
    void agent_lost(uint16_t blade);
    /// The repository does not have it (for that blade).
    void not_restored(uint64_t order_id);

    /// Every kTick: overdue orders, expired entries.
    void tick();
    static constexpr std::chrono::milliseconds kTick{100};

    /// Forgets blades that are configured no more.
    void configured();

    [[nodiscard]] std::optional<uint16_t> holder(const SessionName& name) const;
    [[nodiscard]] const Orders& orders() const { return orders_; }
    [[nodiscard]] const Directory& directory() const { return directory_; }

  private:
    struct Verdict {
        bool order = false;
        MoveResult result = MoveResult::refused;
    };
    Verdict judge(const MoveWish& wish, const std::string& service) const;
    void give_order(const MoveOrder& order);
    bool restore(uint64_t order_id);
    void finished(const FinishedMove& move, uint64_t expires_ms);
    void send_entries(const std::vector<MovedSession>& sessions, bool replace);
    void answer(uint64_t move_id, MoveResult result, const MovedSession* now);
    [[nodiscard]] bool may_hold(uint16_t blade, const std::string& service) const;

    const Config& config_;
    const Secrets& secrets_;
    Agents& agents_;
    DataplaneLink& dataplane_;
    LastResort& last_resort_;
    Orders orders_;
    Directory directory_;
    bool directory_changed_ = false;
};

/// Unix time in ms.
uint64_t unix_ms();

}  // namespace keyrail
