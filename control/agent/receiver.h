// SPDX-License-Identifier: Apache-2.0
// The target's side of a move: stores a session that another blade's agent sends if keyraild has announced
// it (Expect), once, and answers. A state machine without sockets; peer_server brings the messages.
//
// The announcement and the session come by different ways: a session that overtakes its announcement waits
// for it a moment.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "chassis.pb.h"
#include "control/agent/fences.h"
#include "control/agent/name_keys.h"
#include "control/agent/records.h"
#include "control/store/store.h"
#include "dataplane/common/arrival.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

struct ReceiverEvents {
    /// A session has arrived: tells the dispatcher that waits for it (if any), keyraild, and those here.
    std::function<void(const SessionName& name, const Arrival& arrival, chassis::MoveDone moved)> stored;
    /// The answer to a transfer that had to wait.
    std::function<void(BladeId from, uint64_t number, chassis::TransferAck ack)> answered;
    std::function<void(BladeId from, const std::string& reason)> refused;
};

class Receiver {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr size_t kRemembered = 16384;   // transfers whose repetition is recognised
    static constexpr size_t kMaxExpected = 65536;  // as keyraild has orders at most
    static constexpr size_t kMaxEarly = 1024, kMaxEarlyOfOne = 512;  // that wait for their announcement
    static constexpr std::chrono::seconds kExpectFor{10};            // longer than an order lives
    static constexpr std::chrono::milliseconds kEarlyFor{500};

    Receiver(Store& store, const ServedServices& served, const Fences& fences, BladeId self,
             const NameKeys& names, ReceiverEvents events)
        : store_(store),
          served_(served),
          fences_(fences),
          self_(self),
          names_(names),
          events_(std::move(events)) {}

    /// Who may send sessions.
    void configure(std::set<BladeId> blades) { blades_ = std::move(blades); }
    /// keyraild announces a session.
    void expect(const chassis::Expect& message, Time now);
    /// `from`: by its certificate; `number`: the transfer's request number. One that is repeated gets its
    /// first answer again: stored twice, a session could be used twice. nullopt: it waits, the answer comes
    /// by answered().
    std::optional<chassis::TransferAck> receive(BladeId from, uint64_t number,
                                                const chassis::Transfer& transfer, Time now);
    /// Refuses what has waited too long, and forgets what did not come. Call it every 100 ms or so.
    void poll(Time now);
    /// Transfers wait.
    [[nodiscard]] size_t waiting() const { return early_.size(); }

  private:
    friend struct testing::Inspect;
    using Refusal = std::optional<std::string>;  // nullopt: stored
    using Key = std::pair<BladeId, uint64_t>;    // blade, its number for the transfer
    struct Expected {
        SessionName name{};
        BladeId from = 0;
        std::vector<ServiceId> services;
        MoveReceipt receipt{};
        Arrival arrival{};
        Time until;
    };
    struct Early {
        Key key;
        uint64_t order_id = 0;
        std::shared_ptr<SessionRecord> record;
        chassis::MoveTimes times;
        Time until;
    };
    /// Why it is not even looked for an announcement; else the record.
    Refusal read(BladeId from, const chassis::Transfer& transfer, SessionRecord& out) const;
    [[nodiscard]] bool has_room_for(BladeId from) const;
    Refusal take(const Expected& expected, uint64_t order_id, BladeId from, SessionRecord& record,
                 const chassis::MoveTimes& times);
    void remember(const Key& key, std::optional<Refusal> outcome);
    chassis::TransferAck answer(const Key& key, uint64_t order_id, const Refusal& refused);

    Store& store_;
    const ServedServices& served_;
    const Fences& fences_;
    BladeId self_;
    const NameKeys& names_;
    ReceiverEvents events_;
    std::set<BladeId> blades_;

    std::map<uint64_t, Expected> expected_;            // by order id
    std::deque<std::pair<uint64_t, Time>> announced_;  // order ids, oldest first: some are over
    std::list<Early> early_;                           // oldest first
    std::map<BladeId, size_t> early_of_;               // how many of each blade
    std::map<Key, std::optional<Refusal>> seen_;       // nullopt: it waits
    std::deque<Key> order_;                            // oldest first
};

}  // namespace keyrail
