// SPDX-License-Identifier: Apache-2.0
// A repository as keyraild uses it: nothing waits for it. Changes queue up (bounded; a newer one of the same
// session takes the place of the older) and are made in batches by a thread of its own; what has no room, is
// lost and counted.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "control/repository/repository.h"

namespace keyrail {

struct RepositoryStats {
    bool up = true;
    std::string problem;  // why it is not up
    uint64_t waiting = 0;
    uint64_t stored = 0, removed = 0;  // changes made
    uint64_t taken = 0, missed = 0;    // answers to take()
    uint64_t lost = 0;                 // changes for which there was no room
    uint64_t failures = 0;             // calls that failed; changes are tried again, takes are not
};

class RepositoryQueue {
  public:
    static constexpr size_t kMaxWaiting = 65'536;                 // changes
    static constexpr size_t kMaxWaitingBytes = size_t{64} << 20;  // sealed bytes in them
    static constexpr size_t kMaxWaitingFor = 8;                   // who hear that one change is made
    static constexpr size_t kBatch = 256;
    static constexpr std::chrono::milliseconds kSweep{
        500};  // and so long until one that is down is tried again

    using Taken = std::function<void(std::optional<std::string> sealed)>;
    using Done = std::function<void()>;
    using Purged = std::function<void(const Result<void>& purged)>;

    RepositoryQueue(asio::any_io_executor executor, std::unique_ptr<Repository> repository);
    /// What waits is written, if the repository is up. No Taken is called any more.
    ~RepositoryQueue();
    RepositoryQueue(const RepositoryQueue&) = delete;
    RepositoryQueue& operator=(const RepositoryQueue&) = delete;

    /// `done`: it, or a later change of the same session, is made. Never when there was no room for it, or
    /// when many have asked since for the same session.
    void change(RepositoryChange change, Done done = nullptr);
    /// Calls back on the executor, never at once; nullopt: it is not there, or the repository is down.
    void take(const SessionName& name, Taken taken);
    /// Destroys what is there now of those that `which` means (nullptr: all). Nothing of it is taken from now
    /// on. `purged` is called once, with an error when the repository is down; it is then done as soon as it
    /// is up, before anything else, and `done` is called.
    void purge(Repository::Which which, Purged purged, Done done = nullptr);
    [[nodiscard]] RepositoryStats stats() const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
