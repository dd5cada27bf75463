// SPDX-License-Identifier: Apache-2.0
// Drains: all sessions of a blade that is drained are moved to the other blades of their pools, at a set
// rate. The agent lists them batch by batch, each becomes an order like any other (moves.h). First come those
// that were used lately: their clients are the likeliest to return, and shall not have to wait then. After
// them, pass after pass until a whole one finds none: what could not be moved is tried again, and so is what
// came meanwhile. Nothing here is kept on disk: after a restart a blade that still drains is listed from the
// start.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "control/daemon/moves/orders.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct DrainProgress {
    uint32_t rate = 0;                                   // moves per second
    uint64_t moved = 0;                                  // since the drain began
    uint64_t failed = 0;                                 // in the pass that runs, or the last one
    uint64_t passes = 0;                                 // whole ones
    bool empty = false;                                  // the last pass found nothing
    std::chrono::steady_clock::time_point began, ended;  // `ended` once it is empty
    uint64_t nowhere_to_go = 0;                          // of those failed: no blade could have them
    MoveResult last_failure = MoveResult::refused;       // of another one of those failed
    std::chrono::steady_clock::time_point last_moved{};  // when a move ended well
    std::string in_vain = {};                            // why the last whole pass moved nothing; "": it did

    static constexpr std::chrono::seconds kPatience{5};
    /// Why it does not go on: a whole pass was in vain, and nothing was moved for kPatience; "": it goes on.
    [[nodiscard]] std::string stuck(std::chrono::steady_clock::time_point now) const;
};

/// What Drains asks of the rest of keyraild.
class DrainHost {
  public:
    virtual ~DrainHost() = default;
    /// Asks the blade's agent for a batch, which comes by listed(); false: it is away. `lately`: of those
    /// that were used last.
    virtual bool list(BladeId blade, uint64_t cursor, uint32_t most, bool lately) = 0;
    /// The blade that shall have this session; nullopt: there is none now.
    virtual std::optional<BladeId> target(BladeId from, const SessionName& name,
                                          const std::string& service) = 0;
    /// How it ends comes by moved(), perhaps at once.
    virtual void move(BladeId from, BladeId to, const SessionName& name, const std::string& service) = 0;
    /// A client waits for its session now: that goes first.
    [[nodiscard]] virtual bool client_waits() const = 0;
};

class Drains {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr uint32_t kHighestRate = 100'000;
    static constexpr std::chrono::milliseconds kTick{10}, kShortTick{1};
    /// While a client waits, the drain stands still, for no longer than that at a time.
    static constexpr std::chrono::milliseconds kMakesWay{5};
    static constexpr uint32_t kBatch = 1000;             // sessions listed at once
    static constexpr size_t kMaxUnderWay = 256;          // moves, per blade
    static constexpr std::chrono::seconds kPause{1};     // after a pass with failures, or that found nothing
    static constexpr std::chrono::seconds kPatience{3};  // for a list

    explicit Drains(DrainHost& host) : host_(host) {}

    struct Listed {
        SessionName name{};
        std::string service;
    };

    /// Begins, or goes on at another rate.
    void start(BladeId blade, uint32_t rate, Time now);
    void stop(BladeId blade) { drains_.erase(blade); }
    /// The agent's answer: `last`: there is nothing behind it.
    void listed(BladeId blade, uint64_t cursor, bool last, std::deque<Listed> sessions);
    void moved(BladeId blade, MoveResult result);
    /// Every pause() while active().
    void tick(Time now);
    /// A fast drain goes in small steps: what is ordered at once, a returning client's move waits behind.
    [[nodiscard]] std::chrono::milliseconds pause() const;
    [[nodiscard]] bool active() const { return !drains_.empty(); }
    /// nullptr: this blade is not being drained.
    [[nodiscard]] const DrainProgress* progress(BladeId blade) const;

  private:
    struct Drain {
        DrainProgress progress;
        std::deque<Listed> waiting;
        uint64_t cursor = 0, found = 0;  // of this pass
        uint64_t moved_before = 0;       // before this pass
        bool listing = false, last = false;
        bool lately = true;  // the first pass, of those that were used last
        size_t under_way = 0;
        Time next_list, last_tick;
        Time held_up;          // since when a client's move goes first; 0: it does not
        double allowance = 0;  // moves that the rate allows now
    };
    void tick(BladeId blade, Drain& drain, Time now);
    [[nodiscard]] bool makes_way(Drain& drain, Time now) const;
    void list(BladeId blade, Drain& drain, Time now);
    static void end_pass(Drain& drain, Time now);

    DrainHost& host_;
    std::map<BladeId, Drain> drains_;
};

}  // namespace keyrail
