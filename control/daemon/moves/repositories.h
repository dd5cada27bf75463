// SPDX-License-Identifier: Apache-2.0
// The repositories that services name (LMDB inside keyraild, Redis elsewhere), each behind its queue.
#pragma once

#include <asio/any_io_executor.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/daemon/config/config.h"
#include "control/repository/repository_queue.h"

namespace keyrail {

class Repositories {
  public:
    using Queues = std::map<RepositoryKind, std::unique_ptr<RepositoryQueue>>;

    explicit Repositories(asio::any_io_executor executor) : executor_(std::move(executor)) {}

    /// What a configuration needs and is not open yet.
    struct Prepared {
        Queues opened;
        std::set<RepositoryKind> named;
        RedisOptions redis;
    };
    /// Opens it, beside those in use. LMDB comes last: where something else fails, its files are not touched.
    [[nodiscard]] Result<Prepared> prepare(const Config& next) const;
    /// Takes what was opened into use and closes those that no service names any more. Cannot fail. Says
    /// which are new.
    std::set<RepositoryKind> commit(Prepared prepared);
    /// Where it is, of a cluster some of its nodes; nowhere: it is not in use.
    [[nodiscard]] std::set<std::string> places(RepositoryKind kind) const;

    /// nullptr: none of this kind.
    [[nodiscard]] RepositoryQueue* find(RepositoryKind kind) const;
    [[nodiscard]] const Queues& all() const { return queues_; }

  private:
    asio::any_io_executor executor_;
    Queues queues_;
    RedisOptions redis_;  // as opened
};

}  // namespace keyrail
