// SPDX-License-Identifier: Apache-2.0
// The target's side of a move: takes sessions from other blades' agents into the store.
#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "control/agent/name_keys.h"
#include "control/agent/peers.h"
#include "control/agent/store.h"
#include "control/protocol/channel.h"

namespace keyrail {

class ServedServices;
namespace chassis {
class MoveDone;
class Transfer;
}  // namespace chassis

class Receiver {
  public:
    static constexpr size_t kRemembered = 16384;  // transfers whose repetition is recognised
    using Report = std::function<void(chassis::MoveDone)>;

    /// `report`: MOVED, to keyraild.
    Receiver(Store& store, const ServedServices& served, uint16_t self, const NameKeys& names, Report report)
        : store_(store), served_(served), self_(self), names_(names), report_(std::move(report)) {}

    ~Receiver() { stop(); }
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

    /// Closes every connection; store, services, keys and `report` are not touched from then on.
    void stop();
    /// Who may send sessions. Connections of others are cut.
    void configure(PeerBlades blades);
    /// Serves one connection of another agent until it ends. Only blades may send sessions, not control.
    asio::awaitable<void> serve(ChannelPtr channel);

  private:
    /// nullopt: stored. Otherwise why not.
    std::optional<std::string> take_in(uint16_t from, uint64_t number, const chassis::Transfer& transfer);
    std::optional<std::string> store(const chassis::Transfer& transfer);

    Store& store_;
    const ServedServices& served_;
    const uint16_t self_;
    const NameKeys& names_;
    Report report_;
    /// The blade is known, but this is not a certificate of it that is good.
    [[nodiscard]] bool outdated(const Channel& channel) const;

    PeerBlades blades_;

    using Key = std::pair<uint16_t, uint64_t>;  // blade, its number for the transfer
    std::map<Key, std::optional<std::string>> seen_;
    std::deque<Key> order_;  // oldest first

    std::set<ChannelPtr> channels_;  // being served
    std::shared_ptr<bool> stopped_ = std::make_shared<bool>(false);
};

}  // namespace keyrail
