// SPDX-License-Identifier: Apache-2.0
// The holder's side of a move: order -> take -> Transfer -> acknowledgement (DESIGN.md section 7).
//
// At most once: the record is taken out of the store before it is sent, and from then on it is put back only
// when it was not sent, or when the target says that it did not take it. Otherwise it is destroyed.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <memory>

#include "control/agent/peers.h"
#include "control/agent/store.h"

namespace keyrail {

class ServedServices;
namespace chassis {
class MoveDone;
class Order;
class TransferAck;
}  // namespace chassis

class Mover {
  public:
    static constexpr size_t kMostOrders = 4096;  // under way
    /// How long the target may take to answer, when the order's budget is shorter: a late answer is better
    /// than none, and keyraild counts an order as lost after 5 s.
    static constexpr std::chrono::milliseconds kAckTimeout{2000};
    static constexpr std::chrono::milliseconds kLongestBudget{4000};
    using Report = std::function<void(chassis::MoveDone)>;

    /// `report`: to keyraild; for everything but MOVED, which the target says.
    Mover(asio::any_io_executor executor, Store& store, const ServedServices& served, Peers& peers,
          Report report);
    ~Mover();
    Mover(const Mover&) = delete;
    Mover& operator=(const Mover&) = delete;

    /// Carries the order out. One that comes again is answered as before, and not carried out again.
    void order(const chassis::Order& order);
    /// A new connection to keyraild: its order numbers are new ones.
    void forget();
    /// From peers: an answer to the Transfer with this request number.
    void acknowledged(uint16_t blade, uint64_t request, const chassis::TransferAck& ack);
    void lost(uint16_t blade);

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
