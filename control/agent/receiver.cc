// SPDX-License-Identifier: Apache-2.0
#include "control/agent/receiver.h"

#include <spdlog/spdlog.h>

#include "chassis.pb.h"
#include "control/agent/records.h"

namespace keyrail {

void Receiver::stop() {
    *stopped_ = true;
    for (const ChannelPtr& channel : channels_) channel->close();
}

void Receiver::configure(PeerBlades blades) {
    blades_ = std::move(blades);
    for (const ChannelPtr& channel : channels_) {
        if (blades_.contains(channel->peer().blade) && !outdated(*channel)) continue;
        spdlog::warn("receiver: {} is cut off: it is no blade of this chassis any more", channel->name());
        channel->close();
    }
}

bool Receiver::outdated(const Channel& channel) const {
    const auto known = blades_.find(channel.peer().blade);
    return known != blades_.end() && !known->second.accepts(channel.peer_certificate());
}

std::optional<std::string> Receiver::store(const chassis::Transfer& transfer) {
    SessionRecord record;
    if (auto sane = from_message(transfer.record(), served_, wall_clock_ms(), record); !sane)
        return sane.error().message;
    record.moved_in = names_.home(record.name) != self_;
    if (store_.put(record) != Store::Put::kStored) return "the store cannot take it";
    chassis::MoveDone done;
    done.set_order_id(transfer.order_id());
    done.set_result(chassis::MOVED);
    done.set_expires_ms(record.expires_ms);
    report_(std::move(done));
    return std::nullopt;
}

/// A transfer that is repeated gets its first answer again: stored twice, a session could be used twice.
std::optional<std::string> Receiver::take_in(uint16_t from, uint64_t number,
                                             const chassis::Transfer& transfer) {
    if (!blades_.contains(from)) return "this blade does not know you (yet)";
    if (number == 0) return "the transfer has no number";
    const Key key{from, number};
    if (const auto known = seen_.find(key); known != seen_.end()) return known->second;
    auto outcome = store(transfer);
    if (outcome) spdlog::warn("receiver: a session of blade {} is refused: {}", from, *outcome);
    seen_.emplace(key, outcome);
    order_.push_back(key);
    if (order_.size() > kRemembered) {
        seen_.erase(order_.front());
        order_.pop_front();
    }
    return outcome;
}

asio::awaitable<void> Receiver::serve(ChannelPtr channel) {
    const std::shared_ptr<bool> stopped = stopped_;
    if (*stopped) co_return;
    if (!channel->peer().is_blade() || channel->peer().blade == self_) {
        spdlog::warn("receiver: {} is not let in: only other blades send sessions", channel->name());
        co_return;
    }
    if (outdated(*channel)) {
        spdlog::warn("receiver: {} is not let in: its certificate is not good any more", channel->name());
        co_return;
    }
    channels_.insert(channel);
    for (;;) {
        auto message = co_await channel->receive();
        if (*stopped) co_return;
        if (!message) {
            spdlog::info("receiver: {}", message.error().message);
            channels_.erase(channel);
            co_return;
        }
        chassis::Envelope answer;
        answer.set_request(message->request());
        if (message->has_transfer()) {
            const auto refused = take_in(channel->peer().blade, message->request(), message->transfer());
            auto& ack = *answer.mutable_transfer_ack();
            ack.set_order_id(message->transfer().order_id());
            ack.set_stored(!refused);
            ack.set_reason(refused.value_or(""));
        } else if (message->has_ping()) {
            answer.mutable_pong();
        }
        wipe(*message);
        if (answer.body_case() == chassis::Envelope::BODY_NOT_SET) continue;
        if (auto sent = channel->send(std::move(answer)); !sent)
            spdlog::warn("receiver: {}", sent.error().message);
    }
}

}  // namespace keyrail
