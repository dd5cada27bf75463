// SPDX-License-Identifier: Apache-2.0
#include "control/agent/receiver.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/agent/records.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/name_bytes.h"
#include "dataplane/common/stamp.h"

namespace keyrail {

namespace {
constexpr const char* kUnannounced = "keyraild has not announced it";

chassis::MoveTimes times_of(const chassis::Transfer& transfer, Receiver::Time received) {
    chassis::MoveTimes times;
    times.set_ordered_ns(transfer.ordered_ns());
    times.set_sent_ns(transfer.sent_ns());
    times.set_received_ns(stamp_ns(received));
    return times;
}
}  // namespace

// --- what keyraild announces

void Receiver::expect(const chassis::Expect& message, Time now) {
    const auto name = name_from(message.name());
    Expected expected;
    constexpr int kMaxServices = 1024;
    if (!name || message.from() > BladeId::kMax || message.receipt().size() != expected.receipt.size() ||
        message.services_size() > kMaxServices)
        return;
    poll(now);
    if (expected_.size() >= kMaxExpected) return;  // it is refused, and put back where it was
    expected.name = *name;
    expected.from = BladeId::or_none(message.from());
    for (const std::string& service : message.services()) expected.services.push_back(ServiceId::of(service));
    std::ranges::copy(message.receipt(), expected.receipt.begin());
    expected.until = now + kExpectFor;
    const auto& arrival = message.arrival();
    if (arrival.port() <= UINT16_MAX)
        expected.arrival = {arrival.move_id(), arrival.token(), static_cast<uint16_t>(arrival.port())};
    const uint64_t order_id = message.order_id();
    if (!expected_.emplace(order_id, std::move(expected)).second) return;
    announced_.emplace_back(order_id, now + kExpectFor);
    const auto early_here = early_of_.find(BladeId::or_none(message.from()));
    if (early_here == early_of_.end() || early_here->second == 0) return;
    for (auto early = early_.begin(); early != early_.end();) {
        const auto found = expected_.find(order_id);
        if (early->order_id != order_id || found == expected_.end() ||
            found->second.from != early->key.first) {
            ++early;
            continue;
        }
        const Early waited = std::move(*early);
        early = early_.erase(early);
        early_of_[waited.key.first]--;
        const Refusal refused = take(found->second, order_id, waited.key.first, *waited.record, waited.times);
        events_.answered(waited.key.first, waited.key.second, answer(waited.key, order_id, refused));
    }
}

void Receiver::poll(Time now) {
    while (!early_.empty() && early_.front().until <= now) {
        const Early late = std::move(early_.front());
        early_.pop_front();
        early_of_[late.key.first]--;
        events_.answered(late.key.first, late.key.second, answer(late.key, late.order_id, kUnannounced));
    }
    for (; !announced_.empty() && announced_.front().second <= now; announced_.pop_front())
        expected_.erase(announced_.front().first);
}

// --- what comes

Receiver::Refusal Receiver::read(BladeId from, const chassis::Transfer& transfer, SessionRecord& out) const {
    if (!blades_.contains(from)) return "this blade does not know you (yet)";
    auto sane = from_message(transfer.record(), served_, wall_clock_ms(), out);
    if (!sane) return sane.error().message;
    return std::nullopt;
}

bool Receiver::has_room_for(BladeId from) const {
    const auto of_it = early_of_.find(from);
    return early_.size() < kMaxEarly && (of_it == early_of_.end() || of_it->second < kMaxEarlyOfOne);
}

/// An announcement counts for one session; what does not fit to it leaves it as it was.
Receiver::Refusal Receiver::take(const Expected& expected, uint64_t order_id, BladeId from,
                                 SessionRecord& record, const chassis::MoveTimes& times) {
    if (expected.from != from || expected.name != record.name) return kUnannounced;
    if (std::ranges::find(expected.services, record.service) == expected.services.end())
        return !record.service.known() ? "its service is not known"
                                       : "its service does not go from you to here";
    record.receipt = expected.receipt;
    const Arrival arrival = expected.arrival;
    expected_.erase(order_id);
    if (fences_.stop(order_id, record)) return "it was purged";
    record.moved_in = names_.home(record.name) != self_;
    if (store_.put(record) != Store::Put::kStored) return "the store cannot take it";
    chassis::MoveDone done;
    done.set_order_id(order_id);
    done.set_result(chassis::MOVED);
    done.set_expires_ms(record.expires_ms);
    *done.mutable_times() = times;
    done.mutable_times()->set_stored_ns(stamp_ns());
    events_.stored(record.name, arrival, std::move(done));
    return std::nullopt;
}

void Receiver::remember(const Key& key, std::optional<Refusal> outcome) {
    const auto [known, fresh] = seen_.insert_or_assign(key, std::move(outcome));
    if (fresh) order_.push_back(key);
    if (order_.size() <= kRemembered) return;
    seen_.erase(order_.front());
    order_.pop_front();
}

chassis::TransferAck Receiver::answer(const Key& key, uint64_t order_id, const Refusal& refused) {
    if (key.second != 0) remember(key, std::optional<Refusal>(refused));
    if (refused) events_.refused(key.first, *refused);
    chassis::TransferAck ack;
    ack.set_order_id(order_id);
    ack.set_stored(!refused);
    ack.set_reason(refused.value_or(""));
    return ack;
}

std::optional<chassis::TransferAck> Receiver::receive(BladeId from, uint64_t number,
                                                      const chassis::Transfer& transfer, Time now) {
    const Key key{from, number};
    const uint64_t order_id = transfer.order_id();
    if (number == 0) return answer(key, order_id, "the transfer has no number");
    if (const auto known = seen_.find(key); known != seen_.end()) {
        if (!known->second) return std::nullopt;  // it waits
        const Refusal& before = *known->second;
        chassis::TransferAck ack;
        ack.set_order_id(order_id);
        ack.set_stored(!before);
        ack.set_reason(before.value_or(""));
        return ack;
    }
    SessionRecord record;
    if (const auto refused = read(from, transfer, record)) return answer(key, order_id, refused);
    if (const auto expected = expected_.find(order_id); expected != expected_.end())
        return answer(key, order_id, take(expected->second, order_id, from, record, times_of(transfer, now)));
    const auto waits = std::make_shared_for_overwrite<SessionRecord>();
    if (!has_room_for(from) || read(from, transfer, *waits)) return answer(key, order_id, kUnannounced);
    remember(key, std::nullopt);
    early_.push_back({key, order_id, waits, times_of(transfer, now), now + kEarlyFor});
    early_of_[from]++;
    return std::nullopt;
}

}  // namespace keyrail
