// SPDX-License-Identifier: Apache-2.0
// What agents tell of their sessions, and what follows from it: the table of latest states, copies that are
// destroyed, what is kept in repositories, and what may be restored from them. State and decisions only: no
// sockets, no timers, no repository. A copy uses the same configuration and hosts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "chassis.pb.h"
#include "control/daemon/config/config.h"
#include "control/daemon/moves/latest.h"
#include "control/daemon/moves/orders.h"
#include "control/daemon/moves/sealed_sessions.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

/// What Checkpoints asks of its daemon.
class CheckpointHost {
  public:
    virtual ~CheckpointHost() = default;
    virtual Result<void> send(BladeId blade, chassis::Envelope message) = 0;
    /// The blade that made this name; nullopt: no name of ours.
    [[nodiscard]] virtual std::optional<BladeId> home(const SessionName& name) const = 0;
    /// Where the session is, by the directory or its name.
    [[nodiscard]] virtual std::optional<BladeId> holder(const SessionName& name) const = 0;
    /// Is it being moved in this moment?
    [[nodiscard]] virtual bool under_way(const SessionName& name) const = 0;
    [[nodiscard]] virtual bool dead(BladeId blade) const = 0;
    /// restore() found nothing, or nothing for that blade.
    virtual void not_restored(uint64_t order_id) = 0;
    [[nodiscard]] virtual std::string receipt(const SessionName& name, BladeId blade, uint64_t order) = 0;
    [[nodiscard]] virtual std::optional<uint64_t> order_in(const std::string& receipt,
                                                           const SessionName& name, BladeId blade) = 0;
    /// The blade has not answered a purge yet that means this session: what it says is from before.
    [[nodiscard]] virtual bool purging(BladeId blade, const SessionName& name, ServiceId service) const = 0;
};

struct CheckpointCounters {
    uint64_t sessions = 0;  // whose latest state is known
    uint64_t reported = 0;  // states that agents told of
    uint64_t stale = 0;     // that were behind, or are elsewhere: copies
    uint64_t restored = 0;  // sent to a blade from a repository
    uint64_t refused = 0;   // found in a repository, but stale, perhaps used, or not for that blade
};

class Checkpoints {
  public:
    static constexpr size_t kMaxPromises = 256;  // messages of one blade that wait to be acknowledged
    static constexpr size_t kMaxSealed = size_t{16} << 10;

    /// Both outlive this.
    Checkpoints(ConfigPtr config, CheckpointHost& host, SealedSessions& sealed)
        : config_(std::move(config)), host_(&host), sealed_(&sealed) {}
    void configure(ConfigPtr config) { config_ = std::move(config); }

    // --- agents ---
    /// `number`: of the message; if it is not 0, it is acknowledged when nothing of the sessions that are
    /// gone is in a repository.
    void checkpoint(BladeId blade, const chassis::Checkpoint& message, uint64_t number);
    /// The connection broke: what it waits to hear it asks again.
    void agent_lost(BladeId blade);
    /// Every 100 ms or so.
    void tick(uint64_t now_ms) { latest_.sweep(now_ms); }

    // --- moves ---
    /// Takes the order's session out of its repository and sends it to the target, which answers the order by
    /// MoveDone; or calls not_restored(), later, never at once. False: there is no repository for it.
    bool restore(const MoveOrder& order, const NotUsed& known);
    /// It is at its target. The blade that was taken for dead may be back meanwhile, and have told of it:
    /// that is a copy now.
    void restored(const MoveOrder& order);
    /// Destroyed on purpose: nobody may have it any more. The repositories are told by who purges.
    void purge(const SessionName& name);
    /// nullptr: nothing is known.
    [[nodiscard]] const LatestState* latest(const SessionName& name) const { return latest_.find(name); }

    // --- the repositories ---
    void forgotten(uint64_t ticket);
    /// Empty: it was not there.
    void retrieved(const Retrieval& retrieval, const std::string& stored);

    /// Without the repositories.
    [[nodiscard]] CheckpointCounters counters() const {
        CheckpointCounters now = counters_;
        now.sessions = latest_.size();
        return now;
    }

  private:
    friend struct testing::Inspect;
    /// A message that is to be acknowledged.
    struct Promise {
        BladeId blade = 0;
        uint64_t number = 0;
        size_t left = 0;  // sessions
    };
    [[nodiscard]] const ServiceConfig* service_named(const std::string& name) const;
    uint64_t promise(BladeId blade, uint64_t number, size_t sessions);
    void report(BladeId blade, const chassis::SessionState& state, uint64_t ticket);
    void end(BladeId blade, const chassis::SessionState& state, const SessionName& name, uint64_t ticket);
    [[nodiscard]] std::string unfit(const Retrieval& retrieval, const chassis::SessionState& state) const;
    [[nodiscard]] bool is_copy(BladeId blade, const chassis::SessionState& state) const;
    void tell_stale();

    ConfigPtr config_;
    CheckpointHost* host_;
    SealedSessions* sealed_;
    Latest latest_;
    std::map<BladeId, chassis::Stale> stale_;  // to be told at the next tick
    std::map<uint64_t, Promise> promises_;     // by ticket
    uint64_t last_ticket_ = 0;
    CheckpointCounters counters_;
};

}  // namespace keyrail
