// SPDX-License-Identifier: Apache-2.0
#include "control/agent/moving.h"

#include <openssl/rand.h>

namespace keyrail {

using Clock = std::chrono::steady_clock;

Moving::Moving(const asio::any_io_executor& executor, Store& store, const ServedServices& served,
               const NameKeys& names, uint16_t self, Wakefulness& wakefulness, MoveEvents events)
    : executor_(executor),
      self_(self),
      wakefulness_(wakefulness),
      events_(std::move(events)),
      mover_(store, served, *this),
      receiver_(store, served, self, names, events_.stored),
      timer_(executor) {}

Result<void> Moving::start(const TlsContext& tls, const HostPort& listen) {
    peers_ = std::make_unique<Peers>(executor_, tls, peer_events());
    auto opened = PeerServer::open(
        executor_, tls, listen, self_,
        [this](uint16_t blade, const chassis::Envelope& message) { return receive(blade, message); });
    if (!opened) return tl::make_unexpected(opened.error());
    peer_server_ = std::move(*opened);
    return {};
}

void Moving::configure(const PeerBlades& peers) {
    std::set<uint16_t> blades;
    for (const auto& [blade, peer] : peers) blades.insert(blade);
    receiver_.configure(std::move(blades));
    peer_server_->configure(peers);
    peers_->configure(peers);
}

PeerEvents Moving::peer_events() {
    PeerEvents events;
    events.message = [this](uint16_t blade, const chassis::Envelope& message) {
        if (message.has_transfer_ack())
            mover_.acknowledged(blade, message.request(), message.transfer_ack(), Clock::now());
    };
    events.connected = [this](uint16_t) { poll(); };
    events.lost = [this](uint16_t blade) { mover_.lost(blade); };
    return events;
}

chassis::Envelope Moving::receive(uint16_t blade, const chassis::Envelope& message) {
    chassis::Envelope answer;
    if (!message.has_transfer()) return answer;
    *answer.mutable_transfer_ack() = receiver_.receive(blade, message.request(), message.transfer());
    wakefulness_.needed();
    return answer;
}

void Moving::order(const chassis::Order& order) {
    mover_.order(order, Clock::now());
    await();
    wakefulness_.needed();
}

void Moving::poll() {
    mover_.poll(Clock::now());
    await();
}

/// Looks again soon while orders wait for their session or for a connection.
void Moving::await() {
    if (mover_.waiting() && !timer_.running()) timer_.after(Mover::kStep, [this] { poll(); });
}

/// Counts from a random start: the numbers of an agent that ran before are others.
uint64_t Moving::transfer_number() {
    if (last_transfer_ == 0)
        RAND_bytes(reinterpret_cast<unsigned char*>(&last_transfer_), sizeof last_transfer_);
    return ++last_transfer_;
}

}  // namespace keyrail
