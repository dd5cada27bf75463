// SPDX-License-Identifier: Apache-2.0
// Tells keyraild how far the sessions of the store have got, and seals those whose service has a repository
// (DESIGN.md section 7). Handshakes know nothing of it: what happened stands in the store's journal, and is
// read here a moment later. That a session is gone is told until keyraild acknowledges it.
//
// What became of a session that is not here is known for an *epoch*: since this began, and since the last
// time that something may have been missed. A report says in which epoch it was made.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/agent/mover.h"
#include "control/agent/records.h"
#include "control/agent/sealing_keys.h"
#include "control/store/store.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

/// What is authenticated with a sealed record: it cannot pass for another session, or another state of it.
std::string sealing_context(const chassis::SessionState& state);

class Checkpointer {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr size_t kMaxBytes = size_t{64} << 10;  // of one message, about
    static constexpr size_t kMaxGone = 65'536;             // names, while keyraild is away
    static constexpr size_t kMaxLeft = 65'536;
    /// A single-use session that is taken for a handshake is put back when that comes to nothing.
    static constexpr std::chrono::milliseconds kMayComeBack{50};
    /// keyraild could not do what it was told (a repository is down): told again.
    static constexpr std::chrono::seconds kPatience{5};

    /// All of them outlive this. `sealed`: the services that have a repository. `self`: this blade. `began`:
    /// the first epoch; later than any of an agent that ran here before.
    Checkpointer(Store& store, const ServedServices& served, const std::set<std::string>& sealed,
                 const SealingKeys& keys, const Fences& fences, BladeId self, uint64_t began)
        : store_(store),
          served_(served),
          sealed_(sealed),
          keys_(keys),
          fences_(fences),
          self_(self),
          epoch_(began) {}

    /// Reads the journal. Call it often, connected or not.
    void poll(Time now);
    /// A new connection to keyraild: it is told of everything that is here, and again of what is gone.
    void start_over();
    /// Another store, with another journal: how far that of the old one was read does not count.
    void store_replaced();
    /// The next message for keyraild; false: there is nothing to tell. When it is to be acknowledged,
    /// `number` is not 0.
    bool next(chassis::Checkpoint& out, uint64_t& number, Time now);
    void acknowledged(uint64_t number);

    // --- moves ---
    /// Of a session that is not here; reads the journal. Nothing is known while a process holds its shard.
    KnownFate fate(const SessionName& name, Time now);
    /// It left for another blade, and what becomes of it there is not known here.
    void left(const SessionRecord& session);
    /// It is (still) here.
    void came(const SessionName& name);

    /// Destroys copies that keyraild knows to be behind. How many there were.
    size_t destroy(const chassis::Stale& stale);
    /// A session from the repository, for this blade: opened and checked whole.
    Result<void> open(const chassis::SessionState& state, uint64_t now_ms, SessionRecord& out) const;

    /// Changes of which the journal knew no more: the sessions were told of by start_over(), but what was
    /// used up meanwhile was not.
    [[nodiscard]] uint64_t lost() const { return lost_; }
    [[nodiscard]] uint64_t epoch() const { return epoch_; }

  private:
    friend struct testing::Inspect;
    struct Gone {
        SessionName name{};
        MoveReceipt receipt{};
        Time since;
    };
    struct Told {
        std::vector<Gone> gone;
        Time at;
    };
    void new_epoch();
    void read_journal(Time now);
    void note(const Store::Change& change, Time now);
    void tell_gone(chassis::Checkpoint& out, size_t& bytes, uint64_t& number, Time now);
    void take_back(const SessionName& name, Time now);
    void tell_again(const Told& told);
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
    const SealingKeys& keys_;
    const Fences& fences_;
    BladeId self_;
    uint64_t epoch_;
    Store::JournalCursor journal_;
    Store::Cursor walk_{.finished = true};  // over everything, after start_over()
    bool whole_ = true;                     // the journal could be read to its end
    std::deque<SessionName> changed_;
    std::deque<Gone> gone_;          // to be told, oldest first
    std::map<uint64_t, Told> told_;  // by message, not acknowledged
    uint64_t last_number_ = 0;
    std::set<SessionName> gone_names_;  // of both
    std::set<SessionName> left_;        // single-use sessions that went to other blades
    std::deque<SessionName> left_order_;
    uint64_t lost_ = 0;
};

}  // namespace keyrail
