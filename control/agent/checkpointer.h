// SPDX-License-Identifier: Apache-2.0
// Tells keyraild how far the sessions of the store have got, and seals those whose service has a repository
// (DESIGN.md section 7). Handshakes know nothing of it: what happened stands in the store's journal, and is
// read here a moment later.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/agent/pool_keys.h"
#include "control/agent/records.h"
#include "control/store/store.h"

namespace keyrail {

/// What is authenticated with a sealed record: it cannot pass for another session, or another state of it.
std::string sealing_context(const chassis::SessionState& state);

class Checkpointer {
  public:
    static constexpr size_t kMostBytes = size_t{64} << 10;  // of one message, about
    static constexpr size_t kMostGone = 65'536;             // names, while keyraild is away

    /// All of them outlive this. `sealed`: the services that have a repository.
    Checkpointer(Store& store, const ServedServices& served, const std::set<std::string>& sealed,
                 const PoolKeys& keys)
        : store_(store), served_(served), sealed_(sealed), keys_(keys) {}

    /// Reads the journal. Call it often, connected or not.
    void poll();
    /// A new connection to keyraild: it is told of everything that is here.
    void start_over();
    /// The next message for keyraild; false: there is nothing to tell. What it says is taken as told.
    bool next(chassis::Checkpoint& out);

    /// Destroys copies that keyraild knows to be behind. How many there were.
    size_t destroy(const chassis::Stale& stale);
    /// A session from the repository, for this blade: opened and checked whole.
    Result<void> open(const chassis::SessionState& state, uint64_t now_ms, SessionRecord& out) const;

    /// Changes of which the journal knew no more: the sessions were told of by start_over(), but what was
    /// used up meanwhile was not.
    [[nodiscard]] uint64_t lost() const { return lost_; }

  private:
    struct Batch {
        chassis::Checkpoint& out;
        std::vector<SealingJob> jobs;
        std::vector<int> sealed;  // indexes of their states
        size_t bytes;
    };
    void add(const SessionName& name, Batch& batch);
    [[nodiscard]] std::string sealing_service(const SessionRecord& record) const;

    Store& store_;
    const ServedServices& served_;
    const std::set<std::string>& sealed_;
    const PoolKeys& keys_;
    Store::JournalCursor journal_;
    Store::Cursor walk_{.finished = true};  // over everything, after start_over()
    std::deque<SessionName> changed_;
    std::deque<SessionName> gone_;
    uint64_t lost_ = 0;
};

}  // namespace keyrail
