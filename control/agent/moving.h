// SPDX-License-Identifier: Apache-2.0
// Moves put to work: the two state machines of a move (mover.h: holder, receiver.h: target) with the
// connections to and from other agents, and a clock.
#pragma once

#include <functional>
#include <memory>

#include "control/agent/mover.h"
#include "control/agent/peer_server.h"
#include "control/agent/peers.h"
#include "control/agent/receiver.h"
#include "control/protocol/timer.h"
#include "control/protocol/wakefulness.h"

namespace keyrail {

/// Who hears of moves.
struct MoveEvents {
    /// A session has come; first who waits for it on this blade, then keyraild.
    Receiver::Stored stored;
    /// An order to this holder ended otherwise than by MOVED.
    std::function<void(chassis::MoveDone done)> ended;
};

class Moving : private MoverHost {
  public:
    /// All references outlive this. `self`: this blade.
    Moving(const asio::any_io_executor& executor, Store& store, const ServedServices& served,
           const NameKeys& names, uint16_t self, Wakefulness& wakefulness, MoveEvents events);

    /// Listens at `listen` for other agents.
    Result<void> start(const TlsContext& tls, const HostPort& listen);
    /// The other blades: whom to connect to, who may send sessions.
    void configure(const PeerBlades& peers);
    /// keyraild orders a session of this blade away.
    void order(const chassis::Order& order);
    /// A new connection to keyraild: its order numbers are new ones.
    void forget_orders() { mover_.forget(); }
    /// Gives up what has waited too long. Call it every 100 ms or so.
    void poll();
    [[nodiscard]] const Mover::Cost& cost() const { return mover_.cost(); }

  private:
    PeerEvents peer_events();
    chassis::Envelope receive(uint16_t blade, const chassis::Envelope& message);
    void await();

    // --- of the mover ---
    [[nodiscard]] bool connected(uint16_t blade) const override { return peers_->connected(blade); }
    Result<void> send(uint16_t blade, chassis::Envelope message) override {
        return peers_->send(blade, std::move(message));
    }
    void report(chassis::MoveDone done) override { events_.ended(std::move(done)); }
    uint64_t transfer_number() override;

    asio::any_io_executor executor_;
    uint16_t self_;
    Wakefulness& wakefulness_;
    MoveEvents events_;
    Mover mover_;
    Receiver receiver_;
    Timer timer_;
    uint64_t last_transfer_ = 0;  // 0: none yet
    std::unique_ptr<Peers> peers_;
    std::unique_ptr<PeerServer> peer_server_;
};

}  // namespace keyrail
