// SPDX-License-Identifier: Apache-2.0
// The repositories of all services, and the pool keys that seal what is in them, put to work.
#pragma once

#include <asio/any_io_executor.hpp>
#include <functional>
#include <map>
#include <string>

#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/configured_before.h"
#include "control/daemon/moves/repositories.h"
#include "control/protocol/purged.h"
#include "control/repository/pool_key_keeper.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class RepositoryKeeper : public SealedSessions {
  public:
    using Send = std::function<Result<void>(BladeId blade, chassis::Envelope message)>;
    /// `checkpoints` and `before` outlive this. `save` writes `before` down: on disk it is in use before the
    /// first session is in a repository, or a keyraild that is killed then would empty it.
    RepositoryKeeper(asio::any_io_executor executor, ConfigPtr config, Checkpoints& checkpoints,
                     ConfiguredBefore& before, std::function<void()> save, Send send);

    /// Opens what `next` needs, and changes nothing yet.
    [[nodiscard]] Result<Repositories::Prepared> prepare(const Config& next) const {
        return repositories_.prepare(next);
    }
    /// Cannot fail. Says whether a repository has come into use, or again; of those that were out of use
    /// everything is destroyed before anything else.
    bool commit(ConfigPtr config, Repositories::Prepared prepared);
    /// Reads the pool keys.
    Result<void> load() { return keeper_.load(); }

    void pool_keys(BladeId blade, const chassis::PoolKeys& answer, const PoolKeyKeeper::Members& members);
    /// Every 100 ms or so. `members`: of the blades whose agents are connected.
    void tick(uint64_t now_ms, const PoolKeyKeeper::Members& members);
    /// A blade that was revoked, by recipient_of() its certificate: it never gets another pool key.
    void revoke(const std::string& recipient) { keeper_.revoke(recipient); }

    /// Calls back once no repository has the session, at once where there is none; never where there is no
    /// room to remember it for one that is down.
    void forget(const SessionName& name, std::function<void()> then);
    /// Not a single session, but those of a service, or all. Calls back once, later, with what went wrong
    /// where; it is done then as soon as that repository is up. `done` is called when it is done everywhere.
    void purge(const Purged& purged, std::function<void(const std::vector<std::string>& problems)> then,
               std::function<void()> done);

    // --- of the checkpoints ---
    [[nodiscard]] bool keeps(const std::string& service) const override {
        return repository_of(service) != nullptr;
    }
    void keep(const std::string& service, RepositoryChange change) override;
    void forget(const SessionName& name, uint64_t ticket) override;
    bool retrieve(const Retrieval& retrieval) override;

    [[nodiscard]] const Repositories& all() const { return repositories_; }

  private:
    /// Of a service ("": not known); nullptr: it has none.
    [[nodiscard]] RepositoryQueue* repository_of(const std::string& service) const;
    void hand_out_keys(const PoolKeyKeeper::Members& members);

    ConfigPtr config_;
    Checkpoints& checkpoints_;
    ConfiguredBefore& before_;
    std::function<void()> save_;
    Send send_;
    PoolKeyKeeper keeper_;
    std::map<BladeId, std::string> handed_out_;  // recipient and version of the keys that a blade has
    Repositories repositories_;                  // ended first: their answers come here
};

}  // namespace keyrail
