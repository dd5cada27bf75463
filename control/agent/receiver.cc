// SPDX-License-Identifier: Apache-2.0
#include "control/agent/receiver.h"

#include <spdlog/spdlog.h>

#include "control/agent/records.h"

namespace keyrail {

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
    stored_(record.name, std::move(done));
    return std::nullopt;
}

std::optional<std::string> Receiver::judge(uint16_t from, const chassis::Transfer& transfer) {
    auto refused = blades_.contains(from) ? store(transfer) : "this blade does not know you (yet)";
    if (refused) spdlog::warn("receiver: a session of blade {} is refused: {}", from, *refused);
    return refused;
}

chassis::TransferAck Receiver::receive(uint16_t from, uint64_t number, const chassis::Transfer& transfer) {
    std::optional<std::string> refused;
    const Key key{from, number};
    if (number == 0) {
        refused = "the transfer has no number";
    } else if (const auto known = seen_.find(key); known != seen_.end()) {
        refused = known->second;
    } else {
        refused = judge(from, transfer);
        seen_.emplace(key, refused);
        order_.push_back(key);
        if (order_.size() > kRemembered) {
            seen_.erase(order_.front());
            order_.pop_front();
        }
    }
    chassis::TransferAck ack;
    ack.set_order_id(transfer.order_id());
    ack.set_stored(!refused);
    ack.set_reason(refused.value_or(""));
    return ack;
}

}  // namespace keyrail
