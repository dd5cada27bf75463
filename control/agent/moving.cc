// SPDX-License-Identifier: Apache-2.0
#include "control/agent/moving.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "control/protocol/event_loop.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;

Moving::Moving(const asio::any_io_executor& executor, Store& store, const ServedServices& served,
               const NameKeys& names, const Fences& fences, Checkpointer& checkpointer, BladeId self,
               Wakefulness& wakefulness, MoveEvents events)
    : executor_(executor),
      self_(self),
      checkpointer_(checkpointer),
      wakefulness_(wakefulness),
      events_(std::move(events)),
      mover_(store, served, fences, *this),
      receiver_(store, served, fences, self, names, receiver_events()),
      timer_(executor) {}

Result<void> Moving::start(const TlsContext& tls, const HostPort& listen) {
    peers_ = std::make_unique<Peers>(executor_, tls, peer_events());
    auto opened = PeerServer::open(
        executor_, tls, listen, self_,
        [this](const ChannelPtr& from, const chassis::Envelope& message) { return receive(from, message); });
    if (!opened) return tl::make_unexpected(opened.error());
    peer_server_ = std::move(*opened);
    return {};
}

void Moving::configure(const PeerBlades& peers) {
    std::set<BladeId> blades;
    for (const auto& [blade, peer] : peers) blades.insert(blade);
    receiver_.configure(std::move(blades));
    peer_server_->configure(peers);
    peers_->configure(peers);
}

PeerEvents Moving::peer_events() {
    PeerEvents events;
    events.message = [this](BladeId blade, const chassis::Envelope& message) {
        if (message.has_transfer_ack())
            mover_.acknowledged(blade, message.request(), message.transfer_ack(), Clock::now());
    };
    events.connected = [this](uint16_t) { poll(); };
    events.lost = [this](BladeId blade) { mover_.lost(blade); };
    return events;
}

ReceiverEvents Moving::receiver_events() {
    ReceiverEvents events;
    events.stored = [this](const SessionName& name, const Arrival& arrival, chassis::MoveDone moved) {
        events_.arrived(arrival);
        checkpointer_.came(name);
        nothing_soon();
        events_.stored(name, std::move(moved));
    };
    events.answered = [this](BladeId blade, uint64_t number, chassis::TransferAck ack) {
        answer(blade, number, std::move(ack));
    };
    events.refused = [this](BladeId blade, const std::string& reason) {
        chassis::TransfersRefused& refused = refused_[blade];
        refused.set_from(blade);
        refused.set_count(refused.count() + 1);
        refused.set_reason(reason);
    };
    return events;
}

chassis::Envelope Moving::receive(const ChannelPtr& from, const chassis::Envelope& message) {
    chassis::Envelope answer;
    if (!message.has_transfer()) return answer;
    const BladeId blade = from->peer().blade;
    auto ack = receiver_.receive(blade, message.request(), message.transfer(), Clock::now());
    if (ack)
        *answer.mutable_transfer_ack() = std::move(*ack);
    else
        asked_[{blade, message.request()}] = from;
    wakefulness_.needed();
    return answer;
}

void Moving::answer(BladeId blade, uint64_t number, chassis::TransferAck ack) {
    const auto asked = asked_.extract({blade, number});
    const ChannelPtr channel = asked ? asked.mapped().lock() : nullptr;
    if (!channel) return;
    chassis::Envelope message;
    message.set_request(number);
    *message.mutable_transfer_ack() = std::move(ack);
    (void)channel->send(std::move(message));  // who is gone has destroyed it
}

void Moving::expect(const chassis::Expect& message) {
    receiver_.expect(message, Clock::now());
    if (message.soon()) expect_soon();
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

void Moving::tick() {
    poll();
    receiver_.poll(Clock::now());
    for (auto& [blade, refused] : std::exchange(refused_, {})) {
        if (const auto times = log_.happened(refused.reason() + std::to_string(blade)))
            spdlog::warn("receiver: {} sent sessions that are refused{}: {}",
                         Identity::of_blade(blade).text(), times_text(*times), refused.reason());
        events_.refused(std::move(refused));
    }
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
