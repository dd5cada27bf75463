// SPDX-License-Identifier: Apache-2.0
// What agents tell of their sessions, and what follows from it: the table of latest states, copies that are
// destroyed, the repositories, and the pool keys that seal what is in them.
#pragma once

#include <asio/any_io_executor.hpp>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "control/daemon/config/config.h"
#include "control/daemon/moves/latest.h"
#include "control/daemon/moves/orders.h"
#include "control/daemon/moves/repositories.h"
#include "control/repository/pool_key_keeper.h"

namespace keyrail {

/// What Checkpoints asks of its daemon.
class CheckpointHost {
  public:
    virtual ~CheckpointHost() = default;
    virtual Result<void> send(uint16_t blade, chassis::Envelope message) = 0;
    /// Of the blades whose agents are connected.
    [[nodiscard]] virtual PoolKeyKeeper::Members members() const = 0;
    /// Where the session is, by the directory or its name; nullopt: no name of ours.
    [[nodiscard]] virtual std::optional<uint16_t> holder(const SessionName& name) const = 0;
    /// Is it being moved in this moment?
    [[nodiscard]] virtual bool under_way(const SessionName& name) const = 0;
    /// restore() found nothing, or nothing for that blade.
    virtual void not_restored(uint64_t order_id) = 0;
};

struct CheckpointCounters {
    uint64_t reported = 0;  // states that agents told of
    uint64_t stale = 0;     // that were behind, or are elsewhere: copies
    uint64_t restored = 0;  // sent to a blade from a repository
    uint64_t refused = 0;   // found in a repository, but stale or not for that blade
};

class Checkpoints {
  public:
    /// `host` outlives this.
    Checkpoints(asio::any_io_executor executor, ConfigPtr config, CheckpointHost& host);

    /// Opens what `next` needs, and changes nothing yet.
    [[nodiscard]] Result<Repositories::Prepared> prepare(const Config& next) const {
        return repositories_.prepare(next);
    }
    /// Cannot fail.
    void commit(ConfigPtr config, Repositories::Prepared prepared);
    /// Reads the pool keys.
    Result<void> load() { return keeper_.load(); }

    // --- agents ---
    void checkpoint(uint16_t blade, const chassis::Checkpoint& message);
    void pool_keys(uint16_t blade, const chassis::PoolKeys& answer);

    /// Every 100 ms or so.
    void tick(uint64_t now_ms);

    // --- moves ---
    /// May a session of this service ("": not known) be in a repository?
    [[nodiscard]] bool keeps(const std::string& service) const;
    /// Takes the order's session out of its repository and sends it to the target, which answers the order by
    /// MoveDone; or calls not_restored(), later, never at once. False: there is no repository for it.
    bool restore(const MoveOrder& order);
    /// Destroyed on purpose: nobody may have it any more.
    void purge(const SessionName& name);
    void clear();
    /// nullptr: nothing is known.
    [[nodiscard]] const LatestState* latest(const SessionName& name) const { return latest_.find(name); }

    /// A blade that was revoked, by recipient_of() its certificate: it never gets another pool key.
    void revoke(const std::string& recipient) { keeper_.revoke(recipient); }

    [[nodiscard]] nlohmann::json report() const;

  private:
    [[nodiscard]] const ServiceConfig* service_named(const std::string& name) const;
    /// Of a service ("": not known); nullptr: it has none.
    [[nodiscard]] RepositoryQueue* repository_of(const std::string& service) const;
    void change(const chassis::SessionState& state, const SessionName& name, const LatestState& latest);
    bool send_restored(const std::string& stored, const SessionName& name, uint16_t to, uint64_t order_id);
    void report(uint16_t blade, const chassis::SessionState& state);
    [[nodiscard]] bool is_copy(uint16_t blade, const chassis::SessionState& state) const;
    void tell_stale();
    void hand_out_keys(const PoolKeyKeeper::Members& members);

    ConfigPtr config_;
    CheckpointHost& host_;
    Latest latest_;
    PoolKeyKeeper keeper_;
    std::map<uint16_t, chassis::Stale> stale_;    // to be told at the next tick
    std::map<uint16_t, std::string> handed_out_;  // recipient and version of the keys that a blade has
    CheckpointCounters counters_;
    Repositories repositories_;  // ended first: their answers come here
};

}  // namespace keyrail
