// SPDX-License-Identifier: Apache-2.0
// The order table: which moves are under way, who waits for them, how they ended. Pure: time comes in,
// decisions come out; messages are the caller's (moves.cc). At most one order per session name: a second
// request for a session that is under way joins that order and gets its outcome; if it wants the session on
// another blade, it asks again when the session has arrived.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/daemon/moves/session_name_hash.h"
#include "dataplane/common/arrival.h"
#include "dataplane/common/counters.h"
#include "dataplane/common/histogram.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

/// As chassis.MoveResult and link.MoveResult number them.
enum class MoveResult : uint8_t { moved, not_found, refused, lost, unreachable };
inline constexpr size_t kMoveResults = 5;
/// How moves end, by MoveResult.
inline constexpr std::array<CounterText, kMoveResults> kMoveResultTexts = {{
    {"moved", CounterKind::total, "moves", "that came to their end: the session is at its target"},
    {"not_found", CounterKind::total, "moves", "of sessions that their holder did not have"},
    {"refused", CounterKind::total, "moves", "that the target, or keyraild, refused: nothing changed"},
    {"lost", CounterKind::total, "moves", "with a doubtful end: the session was destroyed"},
    {"unreachable", CounterKind::total, "moves", "that could not begin: an agent was away"},
}};

constexpr std::string_view text_of(MoveResult result) {
    return kMoveResultTexts[static_cast<size_t>(result)].name;
}

/// Who wants to know how a move ends.
struct Waiter {
    enum class Kind : uint8_t { dataplane, pull, drain };
    Kind kind = Kind::dataplane;
    BladeId blade = 0;  // that pulls, or that is drained
    uint64_t id = 0;    // the dataplane's move id, or the agent's request number
    auto operator<=>(const Waiter&) const = default;
};

struct MoveWish {
    Waiter waiter;
    SessionName name{};
    BladeId from = 0, to = 0;
    std::chrono::microseconds budget{};
    std::string service;                            // "": not known
    std::chrono::steady_clock::time_point since{};  // when it was made
    Arrival arrival{};                              // what the target may tell the dataplane itself
};

/// Where the session of an order is taken from.
enum class MoveSource : uint8_t { holder, repository };

struct MoveOrder {
    uint64_t id = 0;
    SessionName name{};
    BladeId from = 0, to = 0;
    std::chrono::microseconds budget{};
    std::string service;
    MoveSource source = MoveSource::holder;
    bool soon = false;  // a client waits for it, and few others do
    Arrival arrival{};  // of the first who wished it

    /// Who says that it failed; that it succeeded, always the target says.
    [[nodiscard]] BladeId answers_for() const { return source == MoveSource::holder ? from : to; }
};

/// An order that came to its end: tell `waiters`.
struct FinishedMove {
    MoveOrder order;
    MoveResult result = MoveResult::lost;
    std::vector<Waiter> waiters;  // empty when they have been told before
    /// Who joined it and wants the session on another blade: a hello for other content, a blade that has such
    /// a hello.
    std::vector<MoveWish> others;
    std::chrono::steady_clock::time_point at{};  // if it was MOVED
    std::chrono::steady_clock::time_point started{};
};

struct MoveCounters {
    uint64_t asked = 0, joined = 0, ordered = 0;
    uint64_t not_authorised = 0;     // of those refused: a blade asked for what it does not serve
    uint64_t transfers_refused = 0;  // that blades sent to others, mostly without an order
    uint64_t announced_in_vain = 0;  // sessions that a blade claims without keyraild's receipt
    std::array<uint64_t, kMoveResults> results{};  // by MoveResult
    uint64_t late = 0;                             // acknowledged after the budget was spent
    Histogram duration;                            // order -> MOVED
};

class Orders {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr size_t kMaxOrders = 65'536;
    static constexpr size_t kMaxWaiters = 1024;  // per order
    /// An order nobody answers counts as lost. Longer than the agents' own timeouts.
    static constexpr std::chrono::seconds kTimeout{5};

    /// Ids go up from here. Orders of a keyraild that ran before must not be mistaken for ours: start above
    /// them.
    explicit Orders(uint64_t first_id = 1) : next_id_(first_id) {}

    /// A new order to be sent; nullopt when the wish joined one that is under way.
    /// full() must be false.
    std::optional<MoveOrder> ask(const MoveWish& wish, Time now);
    [[nodiscard]] bool full() const { return orders_.size() >= kMaxOrders; }

    /// A wish that ends before it became an order (unknown blade, agent away, …).
    void count_refusal(MoveResult result);
    void count_not_authorised() { counters_.not_authorised++; }
    void count_transfers_refused(uint64_t count) { counters_.transfers_refused += count; }
    void count_announced_in_vain() { counters_.announced_in_vain++; }
    /// A number between the orders given so far and those to come.
    uint64_t take_number() { return next_id_++; }
    /// This one and all below it are given away.
    void numbers_above(uint64_t last) { next_id_ = std::max(next_id_, last + 1); }

    /// An agent says how an order ended. `by` must be the one who may say so: the target says MOVED, the
    /// holder all else (of a session from a repository, the target); nullopt for anybody else, and for
    /// unknown orders. After holder_gone() a late MOVED is still taken.
    std::optional<FinishedMove> done(uint64_t order_id, BladeId by, MoveResult result, Time now);

    /// Calls `use(order, started)` for those under way, oldest first, until it says false.
    template <typename Use>
    void each(Use use) const {
        for (const auto& [id, pending] : orders_)
            if (!pending.told && !use(pending.order, pending.started)) return;
    }
    /// The order as it stands; nullptr when it is over, or nobody waits for it any more.
    [[nodiscard]] const MoveOrder* find(uint64_t order_id) const;
    /// The holder is dead or does not have the session: it is looked for in a repository.
    void from_repository(uint64_t order_id);

    /// The holder's agent is gone: nobody knows how its orders will end. Their waiters get UNREACHABLE; the
    /// orders stay in the table until kTimeout, since the target may still report MOVED.
    std::vector<FinishedMove> holder_gone(BladeId blade);

    /// Orders that are older than kTimeout.
    std::vector<FinishedMove> expire(Time now);

    [[nodiscard]] const MoveCounters& counters() const { return counters_; }
    [[nodiscard]] size_t under_way() const { return by_name_.size(); }
    [[nodiscard]] bool under_way(const SessionName& name) const { return by_name_.contains(name); }
    /// Clients and servers that wait for an order: not drains.
    [[nodiscard]] size_t clients_waiting() const { return clients_waiting_; }
    /// Some, but so few that those who move their sessions would sleep between the messages.
    [[nodiscard]] bool few_wait() const { return clients_waiting_ > 0 && clients_waiting_ <= kFew; }

  private:
    friend struct testing::Inspect;
    static constexpr size_t kFew = 4;
    struct Pending {
        MoveOrder order;
        Time started;
        bool told = false;  // waiters have their outcome
        std::vector<Waiter> waiters;
        std::vector<MoveWish> others;
    };
    void join(Pending& pending, const MoveWish& wish);
    FinishedMove finish(Pending& pending, MoveResult result);

    uint64_t next_id_;
    std::map<uint64_t, Pending> orders_;                                  // by id = by age
    std::unordered_map<SessionName, uint64_t, SessionNameHash> by_name_;  // whose waiters have not been told
    MoveCounters counters_;
    size_t clients_waiting_ = 0;
};

}  // namespace keyrail
