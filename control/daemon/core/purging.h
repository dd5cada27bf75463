// SPDX-License-Identifier: Apache-2.0
// Purging: sessions are destroyed on every blade, in the repositories, and on their way. Every blade is told
// at once; orders are numbered, and so is a purge: what comes to a blade by an order from before it is
// stopped there (control/agent/fences.h).
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/daemon/blades/agents.h"
#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/moves.h"
#include "control/daemon/moves/purges.h"
#include "control/daemon/moves/repository_keeper.h"
#include "control/protocol/seldom.h"

namespace keyrail {

class Purging {
  public:
    struct Answer {
        uint64_t purged = 0;
        std::vector<std::pair<BladeId, std::string>> failed;  // blade (0: a repository), what is wrong
    };
    /// Who has sessions.
    struct Places {
        Agents& agents;
        Moves& moves;
        Checkpoints& checkpoints;
        RepositoryKeeper& repositories;
        std::function<void()> moves_purged;  // the moved directory has changed: tell the dataplane
    };
    Purging(asio::io_context& io, ConfigPtr config, Places places)
        : io_(io),
          config_(std::move(config)),
          at_(std::move(places)),
          purges_(config_->state_dir / "purges.json") {}

    /// What a keyraild that ran before has left to do. Nothing is told yet.
    Result<void> load();
    /// Has the repositories do what they have not: another keyraild, or another connection to one, may have
    /// been about to. Agents are told by again().
    void go_on();

    /// The answer comes when the sessions are gone everywhere, or says where they are not; there it is done
    /// as soon as that blade or repository is back.
    asio::awaitable<Answer> purge(chassis::Purge what);
    /// Tells those that did not answer, or were away.
    void again();
    /// Its agent is away.
    void lost(BladeId blade) { told_again_.erase(blade); }
    /// Blades that are configured no more still have to answer: they may come back with what they had.
    void configure(ConfigPtr config) { config_ = std::move(config); }
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const {
        return purges_.purging(blade, name, service);
    }

  private:
    struct Round;
    asio::awaitable<void> tell(BladeId blade, chassis::Purge what, std::shared_ptr<Round> round);
    void repositories(const chassis::Purge& what, const std::shared_ptr<Round>& round);
    void keep();

    asio::io_context& io_;
    ConfigPtr config_;
    Places at_;
    Purges purges_;
    Seldom log_;
    std::set<BladeId> told_again_;  // blades that are being told again
};

}  // namespace keyrail
