// SPDX-License-Identifier: Apache-2.0
// The holder's side of a move: order -> take -> Transfer -> acknowledgement (DESIGN.md section 7). A state
// machine without sockets, timers or threads: events and the time come in, messages go out by MoverHost.
//
// At most once: the record is taken out of the store before it is sent, and from then on it is put back only
// when it was not sent, or when the target says that it did not take it. Otherwise it is destroyed.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/agent/fences.h"
#include "control/agent/records.h"
#include "control/store/store.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

/// What became of a session, and in which epoch of this blade (SessionState in chassis.proto) that is known.
struct KnownFate {
    chassis::Fate fate = chassis::UNKNOWN;
    uint64_t epoch = 0;
};

/// What a Mover asks of its agent.
class MoverHost {
  public:
    virtual ~MoverHost() = default;
    /// A connection to this blade's agent is open.
    [[nodiscard]] virtual bool connected(BladeId blade) const = 0;
    /// An order waits for such a connection: the host connects now, not when the next attempt is due. Called
    /// every kStep while it waits.
    virtual void wanted(BladeId /*blade*/) {}
    /// Queues a message to it, which is wiped; an error: nothing was queued.
    virtual Result<void> send(BladeId blade, chassis::Envelope message) = 0;
    /// To keyraild: everything but MOVED, which the target says.
    virtual void report(chassis::MoveDone done) = 0;
    /// Tells one transfer from all others, so that a repeated one can be recognised. Never 0.
    virtual uint64_t transfer_number() = 0;
    /// What is known of a session that is not here.
    virtual KnownFate fate(const SessionName& name, std::chrono::steady_clock::time_point now) = 0;
    /// This session left for another blade; or it did not, after all.
    virtual void left(const SessionRecord& session) = 0;
    virtual void stayed(const SessionName& name) = 0;
};

class Mover {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr size_t kMaxOrders = 4096;  // under way
    /// How long the target may take to answer, when the order's budget is shorter: a late answer is better
    /// than none, and keyraild counts an order as lost after 5 s.
    static constexpr std::chrono::milliseconds kAckTimeout{2000};
    static constexpr std::chrono::milliseconds kLongestBudget{4000};
    /// How often to poll() while somebody is waiting().
    static constexpr std::chrono::microseconds kStep{500};

    /// All outlive this. A copy uses the same ones.
    Mover(Store& store, const ServedServices& served, const Fences& fences, MoverHost& host)
        : store_(store), served_(served), fences_(fences), host_(host) {}

    /// Carries the order out. One that comes again is answered as before, and not carried out again.
    void order(const chassis::Order& order, Time now);
    /// A new connection to keyraild: its order numbers are new ones.
    void forget();
    /// The target's answer to the Transfer with this request number.
    void acknowledged(BladeId blade, uint64_t request, const chassis::TransferAck& ack, Time now);
    /// The connection to this blade broke: no answer will come by it.
    void lost(BladeId blade);
    /// Goes on with what waits, gives up what has waited too long. Call it every kStep while waiting(), and
    /// every 100 ms or so otherwise.
    void poll(Time now);
    /// Orders wait for their session, or for a connection.
    [[nodiscard]] bool waiting() const { return !waiting_.empty(); }

    /// Moves that ended well, and the time they took from the order to the acknowledgement.
    struct Cost {
        uint64_t moves = 0;
        std::chrono::nanoseconds wall{};
    };
    [[nodiscard]] const Cost& cost() const { return cost_; }
    [[nodiscard]] size_t under_way() const { return waiting_.size() + sent_.size(); }

  private:
    friend struct testing::Inspect;
    struct Outcome {
        chassis::MoveResult result = chassis::LOST;
        std::string reason;
        uint64_t expires_ms = 0;
        KnownFate fate{};
    };
    struct Task {
        uint64_t order_id = 0, era = 0;
        SessionName name{};
        BladeId to = 0;
        std::shared_ptr<const chassis::Order> order;
        Time begun, patience, deadline;               // for the session to appear; for the target
        std::shared_ptr<const SessionRecord> record;  // once it is on its way
    };
    /// nullopt: it has to wait.
    std::optional<Outcome> advance(Task& task, Time now);
    std::optional<Outcome> send(Task& task, Time now);
    std::optional<Outcome> missing(const Task& task, Time now);
    /// Why this record is not to leave, or to live.
    [[nodiscard]] std::optional<Outcome> refusal(const Task& task, const SessionRecord& record) const;
    Outcome not_found(const SessionName& name, Time now);
    Outcome put_back(const Task& task, chassis::MoveResult result, std::string reason);
    void finish(const Task& task, const Outcome& outcome);
    void tell(uint64_t order_id, const Outcome& outcome);

    Store& store_;
    const ServedServices& served_;
    const Fences& fences_;
    MoverHost& host_;
    std::vector<Task> waiting_;
    std::map<uint64_t, Task> sent_;                      // by request number
    std::map<uint64_t, std::optional<Outcome>> orders_;  // by order id; nullopt: under way
    std::deque<uint64_t> finished_;                      // oldest first
    uint64_t era_ = 0;                                   // counts connections to keyraild
    Cost cost_;
};

}  // namespace keyrail
