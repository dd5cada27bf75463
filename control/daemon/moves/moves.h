// SPDX-License-Identifier: Apache-2.0
// Moves: from a wish (the dataplane's, a blade's that misses a session, a drain's) to an order to the
// holder's agent, and from an agent's report to the directory and to all who wait. State table:
// control/protocol/README.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/daemon/config/config.h"
#include "control/daemon/moves/directory.h"
#include "control/daemon/moves/latest.h"
#include "control/daemon/moves/move_stages.h"
#include "control/daemon/moves/orders.h"
#include "control/protocol/purged.h"
#include "control/protocol/seldom.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class Announce;
class Envelope;
class MoveDone;
class MoveTimes;
class Pull;
class TransfersRefused;
}  // namespace chassis
namespace link {
class MoveRequest;
class ToDataplane;
}  // namespace link

/// Who says that a session was not used up there, if he told of it in this epoch of his
/// (chassis.SessionState).
struct NotUsed {
    BladeId blade = 0;  // 0: nobody says so
    uint64_t epoch = 0;
};

/// What Moves asks of the rest of keyraild.
class MoveHost {
  public:
    virtual ~MoveHost() = default;
    /// The blade that made this name; nullopt for names that are not ours.
    [[nodiscard]] virtual std::optional<BladeId> home(const SessionName& name) const = 0;
    [[nodiscard]] virtual bool connected(BladeId blade) const = 0;
    /// Could a server of this service ("": of any) there resume a session that is moved to it?
    [[nodiscard]] virtual bool uses_sessions(BladeId /*blade*/, const std::string& /*service*/) const {
        return true;
    }
    /// The blade has not answered a purge yet that means this session: what is there is from before.
    [[nodiscard]] virtual bool purging(BladeId /*blade*/, const SessionName& /*name*/,
                                       ServiceId /*service*/) const {
        return false;
    }
    virtual Result<void> send(BladeId blade, chassis::Envelope message) = 0;
    virtual void send(link::ToDataplane message) = 0;
    /// A move is over, however: for whoever looks.
    virtual void ended(const FinishedMove& /*move*/, MoveResult /*result*/) {}
    /// A move of a drain is over.
    virtual void drained(BladeId blade, MoveResult result) = 0;
    /// What is known of the session's use; nullptr: nothing.
    [[nodiscard]] virtual const LatestState* latest(const SessionName& name) const = 0;

    // --- where a session may be when its holder is dead, or does not have it any more ---
    [[nodiscard]] virtual bool dead(BladeId blade) const = 0;
    /// Is there a repository for sessions of this service?
    [[nodiscard]] virtual bool keeps(const std::string& service) const = 0;
    /// Begins to look for the order's session. It is sent to the target, which answers the order by MoveDone;
    /// or not_restored() is called, later. False: there is no repository for it.
    virtual bool restore(const MoveOrder& order, const NotUsed& known) = 0;
    /// It has arrived at the order's target: what its holder may still have, or have again, is a copy.
    virtual void restored(const MoveOrder& order) = 0;

    // --- receipts (keys/receipts.h) ---
    [[nodiscard]] virtual std::string receipt(const SessionName& name, BladeId blade, uint64_t order) = 0;
    /// The order that brought it there; nullopt: the receipt is none of ours.
    [[nodiscard]] virtual std::optional<uint64_t> order_in(const std::string& receipt,
                                                           const SessionName& name, BladeId blade) = 0;
};

/// State and decisions only: no sockets, no timers. A copy uses the same configuration and host.
class Moves {
  public:
    using Time = std::chrono::steady_clock::time_point;
    /// `host` outlives this. Orders are numbered from `first_order` on; it must be above those of any
    /// keyraild that ran before.
    Moves(ConfigPtr config, MoveHost& host, uint64_t first_order)
        : config_(std::move(config)), host_(host), orders_(first_order) {}

    // --- the dataplane ---
    void request(const link::MoveRequest& request, Time now);
    /// These sessions are no more, and what is under way of them arrives nowhere. The number of the purge:
    /// orders with lower ones are from before it.
    uint64_t purge(const Purged& purged, Time now);
    /// The number of a purge that a keyraild before has left to do.
    void numbers_above(uint64_t last) { orders_.numbers_above(last); }
    /// The whole directory, replacing what the dataplane has. To be done when it has changed, once all agents
    /// have said what they hold.
    void send_directory();
    [[nodiscard]] bool directory_changed() const { return directory_changed_; }

    // --- agents ---
    void done(BladeId blade, const chassis::MoveDone& done, Time now);
    /// A blade's servers miss a session: it is moved there from wherever it is.
    void pull(BladeId blade, uint64_t request, const chassis::Pull& pull, Time now);
    /// What no order of ours brought there, counts for nothing.
    void announce(BladeId blade, const chassis::Announce& announce);
    void refused(BladeId blade, const chassis::TransfersRefused& refused);
    void agent_lost(BladeId blade);
    /// The repository does not have it (for that blade).
    void not_restored(uint64_t order_id, Time now);

    /// A blade is being drained: this session of it is moved to `to`.
    void drain(BladeId from, BladeId to, const SessionName& name, const std::string& service, Time now);
    [[nodiscard]] bool full() const { return orders_.full(); }

    /// Every kTick: overdue orders, expired entries, moves that the dataplane did not ask for.
    void tick(Time now);
    static constexpr std::chrono::milliseconds kTick{100};

    /// Forgets blades that are configured no more.
    void configure(ConfigPtr config);

    [[nodiscard]] bool may_move(BladeId from, BladeId to, const std::string& service) const;
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& name) const;
    [[nodiscard]] const Orders& orders() const { return orders_; }
    [[nodiscard]] const Directory& directory() const { return directory_; }
    [[nodiscard]] const MoveStages& stages() const { return stages_; }

  private:
    friend struct testing::Inspect;
    /// Where moves brought it; nullopt: nowhere, as far as we know.
    [[nodiscard]] std::optional<MovedSession> whereabouts(const SessionName& name) const;
    /// Joins, orders, or answers.
    void ask(MoveWish wish, Time now);
    /// nullopt: order it.
    [[nodiscard]] std::optional<MoveResult> refusal(const MoveWish& wish) const;
    /// A wish that joined a move to another blade, when the session has arrived there (`now`).
    void ask_again(MoveWish wish, const MovedSession& now, Time at);
    void give_order(const MoveOrder& order, Time now);
    bool may_pull(BladeId from, BladeId to, const std::string& name);
    bool restore(uint64_t order_id, const NotUsed& known);
    [[nodiscard]] bool fenced(const MoveOrder& order) const;
    void finished(const FinishedMove& move, uint64_t expires_ms);
    void measure(const FinishedMove& move, const chassis::MoveTimes& times, Time now);
    void send_entries(const std::vector<MovedSession>& sessions, bool replace);
    void answer(const Waiter& waiter, MoveResult result, const MovedSession* now);

    ConfigPtr config_;
    MoveHost& host_;
    Orders orders_;
    Directory directory_;
    MoveStages stages_;
    /// Moves that the dataplane did not ask for: it is told at the next tick.
    std::unordered_map<SessionName, MovedSession, SessionNameHash> fresh_;
    bool directory_changed_ = false;
    Seldom log_;
    struct Fence {
        Purged purged;
        uint64_t number = 0;
        Time since;
    };
    std::vector<Fence> fences_;  // purges whose orders from before may still be under way
};

/// Unix time in ms.
uint64_t unix_ms();
/// What a blade says when a session expires, but no later than any session may (RFC 8446 section 4.6.1).
uint64_t credible_expiry(uint64_t expires_ms);

}  // namespace keyrail
