// SPDX-License-Identifier: Apache-2.0
#include "control/agent/mover.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/agent/records.h"
#include "dataplane/common/name_bytes.h"
#include "dataplane/common/stamp.h"

namespace keyrail {

using std::chrono::microseconds;

namespace {

/// The client knows its session a moment before the store does: OpenSSL sends its last flight, then calls the
/// hook. A client that is back at once gets as much patience as costs it less than the handshake would.
microseconds patience_of(microseconds budget) { return std::min(budget / 4, microseconds(5000)); }

}  // namespace

void Mover::order(const chassis::Order& order, Time now) {
    const uint64_t id = order.order_id();
    if (const auto known = orders_.find(id); known != orders_.end()) {
        if (known->second) tell(id, *known->second);
        return;
    }
    const auto name = name_from(order.name());
    if (!name || order.to() > BladeId::kMax) return tell(id, {chassis::REFUSED, "the order makes no sense"});
    if (under_way() >= kMaxOrders) return tell(id, {chassis::REFUSED, "too many orders at once"});
    orders_.emplace(id, std::nullopt);
    const microseconds budget(order.budget_us());
    const auto reach = budget.count() == 0 ? kAckTimeout : std::min<microseconds>(budget, kLongestBudget);
    const auto to = BladeId::or_none(order.to());
    Task task{
        id,          era_, *name, to, std::make_shared<chassis::Order>(order), now, now + patience_of(budget),
        now + reach, {}};
    if (const auto outcome = advance(task, now))
        finish(task, *outcome);
    else if (!task.record)
        waiting_.push_back(task);
}

/// As long as the record is here, a target that cannot be reached costs nothing: it is taken when all else is
/// set.
std::optional<Mover::Outcome> Mover::advance(Task& task, Time now) {
    if (host_.connected(task.to)) return send(task, now);
    if (!store_.contains(task.name)) return missing(task, now);
    host_.wanted(task.to);
    if (now < task.deadline) return std::nullopt;
    return Outcome{chassis::UNREACHABLE, "the agent of the target cannot be reached"};
}

std::optional<Mover::Outcome> Mover::missing(const Task& task, Time now) {
    if (now < task.patience) return std::nullopt;
    return not_found(task.name, now);
}

std::optional<Mover::Outcome> Mover::send(Task& task, Time now) {
    const auto record = std::make_shared_for_overwrite<SessionRecord>();
    if (!store_.take(task.name, *record)) return missing(task, now);
    if (record->expires_ms <= wall_clock_ms()) return Outcome{chassis::NOT_FOUND, "it is expired"};
    if (auto refused = refusal(task, *record)) {
        if (refused->result == chassis::REFUSED && store_.put(*record) != Store::Put::kStored)
            refused->result = chassis::LOST;
        return refused;
    }
    task.record = record;
    task.deadline = std::max(task.deadline, now + kAckTimeout);
    const uint64_t number = host_.transfer_number();
    chassis::Envelope message;
    message.set_request(number);
    message.mutable_transfer()->set_order_id(task.order_id);
    message.mutable_transfer()->set_ordered_ns(stamp_ns(task.begun));
    message.mutable_transfer()->set_sent_ns(stamp_ns());
    to_message(*record, served_, wall_clock_ms(), *message.mutable_transfer()->mutable_record());
    if (auto sent = host_.send(task.to, std::move(message)); !sent)
        return put_back(task, chassis::UNREACHABLE, sent.error().message);
    host_.left(*record);
    sent_.emplace(number, task);
    return std::nullopt;
}

/// keyraild says with the order what both serve, and the latest that it knows of the session: a record
/// that is behind that is a copy (a store that was restored, a record that was replayed), and is destroyed.
std::optional<Mover::Outcome> Mover::refusal(const Task& task, const SessionRecord& record) const {
    const chassis::Order& order = *task.order;
    const std::string& service = served_.name(record.service);
    if (service.empty()) return Outcome{chassis::REFUSED, "the session's service is not known"};
    if (std::ranges::find(order.services(), service) == order.services().end()) {
        spdlog::warn("mover: blade {} may not have sessions of service '{}'; order {} is refused", task.to,
                     service, task.order_id);
        return Outcome{chassis::REFUSED, "the target does not serve '" + service + "'"};
    }
    const std::string& floor = order.floor_digest();
    const bool other =
        floor.size() == record.digest.size() &&
        !std::equal(floor.begin(), floor.end(), reinterpret_cast<const char*>(record.digest.data()));
    if (record.uses < order.floor_uses() || (record.uses == order.floor_uses() && other))
        return Outcome{chassis::NOT_FOUND, "stale: a later state of it is known"};
    return std::nullopt;
}

Mover::Outcome Mover::not_found(const SessionName& name, Time now) {
    return {chassis::NOT_FOUND, "", 0, host_.fate(name, now)};
}

Mover::Outcome Mover::put_back(const Task& task, chassis::MoveResult result, std::string reason) {
    if (fences_.stop(task.order_id, *task.record)) return {chassis::NOT_FOUND, "it was purged"};
    host_.stayed(task.name);
    if (store_.put(*task.record) != Store::Put::kStored)
        return {chassis::LOST, reason + "; it could not be put back"};
    return {result, std::move(reason), task.record->expires_ms};
}

void Mover::acknowledged(BladeId blade, uint64_t request, const chassis::TransferAck& ack, Time now) {
    const auto found = sent_.find(request);
    if (found == sent_.end() || found->second.to != blade) return;
    const Task task = std::move(sent_.extract(found).mapped());
    constexpr size_t kMaxReason = 200;  // it is kept a while
    if (!ack.stored())
        return finish(task, put_back(task, chassis::REFUSED, ack.reason().substr(0, kMaxReason)));
    cost_.moves++;
    cost_.wall += now - task.begun;
    finish(task, {chassis::MOVED, "", task.record->expires_ms});
}

void Mover::lost(BladeId blade) {
    std::erase_if(sent_, [&](const auto& entry) {
        if (entry.second.to != blade) return false;
        finish(entry.second, {chassis::LOST, "the connection broke; whether it arrived is not known"});
        return true;
    });
}

void Mover::poll(Time now) {
    std::erase_if(waiting_, [&](Task& task) {
        const auto outcome = advance(task, now);
        if (outcome) finish(task, *outcome);
        return outcome || task.record;
    });
    std::erase_if(sent_, [&](const auto& entry) {
        if (now < entry.second.deadline) return false;
        finish(entry.second, {chassis::LOST, "no acknowledgement in time"});
        return true;
    });
}

void Mover::finish(const Task& task, const Outcome& outcome) {
    if (outcome.result == chassis::LOST)
        spdlog::warn("mover: order {} to blade {}: {}; the session is destroyed", task.order_id, task.to,
                     outcome.reason);
    if (task.era != era_) return;  // the keyraild that ordered it is gone, the new one learns by Announce
    orders_[task.order_id] = outcome;
    finished_.push_back(task.order_id);
    if (finished_.size() > 2 * kMaxOrders) {
        orders_.erase(finished_.front());
        finished_.pop_front();
    }
    tell(task.order_id, outcome);
}

void Mover::tell(uint64_t order_id, const Outcome& outcome) {
    if (outcome.result == chassis::MOVED) return;
    chassis::MoveDone done;
    done.set_order_id(order_id);
    done.set_result(outcome.result);
    done.set_reason(outcome.reason);
    done.set_expires_ms(outcome.expires_ms);
    done.set_fate(outcome.fate.fate);
    done.set_epoch(outcome.fate.epoch);
    host_.report(std::move(done));
}

void Mover::forget() {
    era_++;
    orders_.clear();
    finished_.clear();
}

}  // namespace keyrail
