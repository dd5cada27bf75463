// SPDX-License-Identifier: Apache-2.0
// Moves put to work: the two state machines of a move (mover.h: holder, receiver.h: target) with the
// connections to and from other agents, and a clock.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "control/agent/checkpointer.h"
#include "control/agent/mover.h"
#include "control/agent/peer_server.h"
#include "control/agent/peers.h"
#include "control/agent/receiver.h"
#include "control/protocol/seldom.h"
#include "control/protocol/timer.h"
#include "control/protocol/wakefulness.h"
#include "dataplane/common/ids.h"

namespace keyrail {

/// Who hears of moves.
struct MoveEvents {
    /// A session has come; a hold of the dispatcher may wait for it.
    std::function<void(const Arrival& arrival)> arrived;
    /// A session has come; first who waits for it on this blade, then keyraild.
    std::function<void(const SessionName& name, chassis::MoveDone moved)> stored;
    /// An order to this holder ended otherwise than by MOVED.
    std::function<void(chassis::MoveDone done)> ended;
    /// What another blade sent was refused: so many times since the last call, lately for this reason.
    std::function<void(chassis::TransfersRefused refused)> refused;
};

class Moving : private MoverHost {
  public:
    /// All references outlive this. `self`: this blade.
    Moving(const asio::any_io_executor& executor, Store& store, const ServedServices& served,
           const NameKeys& names, const Fences& fences, Checkpointer& checkpointer, BladeId self,
           Wakefulness& wakefulness, MoveEvents events);

    /// Listens at `listen` for other agents.
    Result<void> start(const TlsContext& tls, const HostPort& listen);
    /// The other blades: whom to connect to, who may send sessions.
    void configure(const PeerBlades& peers);
    /// keyraild orders a session of this blade away.
    void order(const chassis::Order& order);
    /// keyraild announces one to this blade.
    void expect(const chassis::Expect& message);
    /// A new connection to keyraild: its order numbers are new ones.
    void forget_orders() { mover_.forget(); }
    /// Gives up what has waited too long, and tells of refusals. Call it every 100 ms or so.
    void tick();
    [[nodiscard]] const Mover::Cost& cost() const { return mover_.cost(); }

  private:
    PeerEvents peer_events();
    ReceiverEvents receiver_events();
    chassis::Envelope receive(const ChannelPtr& from, const chassis::Envelope& message);
    void answer(BladeId blade, uint64_t number, chassis::TransferAck ack);
    void poll();
    void await();

    // --- of the mover ---
    [[nodiscard]] bool connected(BladeId blade) const override { return peers_->connected(blade); }
    void wanted(BladeId blade) override { peers_->try_now(blade); }
    Result<void> send(BladeId blade, chassis::Envelope message) override {
        return peers_->send(blade, std::move(message));
    }
    void report(chassis::MoveDone done) override { events_.ended(std::move(done)); }
    uint64_t transfer_number() override;
    KnownFate fate(const SessionName& name, Mover::Time now) override {
        return checkpointer_.fate(name, now);
    }
    void left(const SessionRecord& session) override { checkpointer_.left(session); }
    void stayed(const SessionName& name) override { checkpointer_.came(name); }

    asio::any_io_executor executor_;
    BladeId self_;
    Checkpointer& checkpointer_;
    Wakefulness& wakefulness_;
    MoveEvents events_;
    Mover mover_;
    Receiver receiver_;
    Timer timer_;
    uint64_t last_transfer_ = 0;  // 0: none yet
    /// Where transfers came from that wait: an answer goes where it was asked, or nowhere.
    std::map<std::pair<BladeId, uint64_t>, std::weak_ptr<Channel>> asked_;
    std::map<BladeId, chassis::TransfersRefused> refused_;  // to be told
    Seldom log_;
    std::unique_ptr<Peers> peers_;
    std::unique_ptr<PeerServer> peer_server_;
};

}  // namespace keyrail
