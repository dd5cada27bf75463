// SPDX-License-Identifier: Apache-2.0
// The target's side of a move: checks a session that another blade's agent sends, stores it, answers. A state
// machine without sockets; peer_server brings the messages.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "chassis.pb.h"
#include "control/agent/name_keys.h"
#include "control/agent/records.h"
#include "control/store/store.h"

namespace keyrail {

namespace testing {
struct Inspect;
}

class Receiver {
  public:
    static constexpr size_t kRemembered = 16384;  // transfers whose repetition is recognised
    /// A session has arrived: to keyraild, and to whoever waits for it here.
    using Stored = std::function<void(const SessionName& name, chassis::MoveDone moved)>;

    Receiver(Store& store, const ServedServices& served, uint16_t self, const NameKeys& names, Stored stored)
        : store_(store), served_(served), self_(self), names_(names), stored_(std::move(stored)) {}

    /// Who may send sessions.
    void configure(std::set<uint16_t> blades) { blades_ = std::move(blades); }
    /// `from`: by its certificate; `number`: the transfer's request number. One that is repeated gets its
    /// first answer again: stored twice, a session could be used twice.
    chassis::TransferAck receive(uint16_t from, uint64_t number, const chassis::Transfer& transfer);

  private:
    friend struct testing::Inspect;
    /// nullopt: stored. Otherwise why not.
    std::optional<std::string> judge(uint16_t from, const chassis::Transfer& transfer);
    std::optional<std::string> store(const chassis::Transfer& transfer);

    Store& store_;
    const ServedServices& served_;
    uint16_t self_;
    const NameKeys& names_;
    Stored stored_;
    std::set<uint16_t> blades_;

    using Key = std::pair<uint16_t, uint64_t>;  // blade, its number for the transfer
    std::map<Key, std::optional<std::string>> seen_;
    std::deque<Key> order_;  // oldest first
};

}  // namespace keyrail
