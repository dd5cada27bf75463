// SPDX-License-Identifier: Apache-2.0
// Orders: one move per name, joined by all who wait for it.
#include "control/daemon/moves/orders.h"

#include <algorithm>
#include <utility>

namespace keyrail {

using std::chrono::duration_cast;
using std::chrono::microseconds;

namespace {
bool is_client(const Waiter& waiter) { return waiter.kind != Waiter::Kind::drain; }
}  // namespace

/// A drain does not care where the session is, and counts on an answer; there is one drain a blade.
void Orders::join(Pending& pending, const MoveWish& wish) {
    const bool client = is_client(wish.waiter);
    if (client && pending.waiters.size() + pending.others.size() >= kMaxWaiters) return;
    if (client && wish.to != pending.order.to) return pending.others.push_back(wish);
    pending.waiters.push_back(wish.waiter);
    clients_waiting_ += client;
}

std::optional<MoveOrder> Orders::ask(const MoveWish& wish, Time now) {
    counters_.asked++;
    if (const auto running = by_name_.find(wish.name); running != by_name_.end()) {
        join(orders_.at(running->second), wish);
        counters_.joined++;
        return std::nullopt;
    }
    clients_waiting_ += is_client(wish.waiter);
    const MoveOrder order{next_id_++,  wish.name,    wish.from,          wish.to,
                          wish.budget, wish.service, MoveSource::holder, is_client(wish.waiter) && few_wait(),
                          wish.arrival};
    orders_.emplace(order.id, Pending{order, now, false, {wish.waiter}, {}});
    by_name_.emplace(order.name, order.id);
    counters_.ordered++;
    return order;
}

void Orders::count_refusal(MoveResult result) {
    counters_.asked++;
    counters_.results[static_cast<size_t>(result)]++;
}

FinishedMove Orders::finish(Pending& pending, MoveResult result) {
    if (!pending.told) {
        counters_.results[static_cast<size_t>(result)]++;
        by_name_.erase(pending.order.name);
    }
    pending.told = true;
    clients_waiting_ -= static_cast<size_t>(std::ranges::count_if(pending.waiters, is_client));
    return {pending.order,  result, std::exchange(pending.waiters, {}), std::exchange(pending.others, {}), {},
            pending.started};
}

std::optional<FinishedMove> Orders::done(uint64_t order_id, BladeId by, MoveResult result, Time now) {
    const auto found = orders_.find(order_id);
    if (found == orders_.end()) return std::nullopt;
    Pending& pending = found->second;
    const bool moved = result == MoveResult::moved;
    if (by != (moved ? pending.order.to : pending.order.answers_for())) return std::nullopt;
    if (moved) {
        const auto took = duration_cast<microseconds>(now - pending.started);
        counters_.duration.add(took);
        if (took > pending.order.budget) counters_.late++;
    }
    FinishedMove finished = finish(pending, result);
    finished.at = now;
    orders_.erase(found);
    return finished;
}

const MoveOrder* Orders::find(uint64_t order_id) const {
    const auto found = orders_.find(order_id);
    return found == orders_.end() || found->second.told ? nullptr : &found->second.order;
}

void Orders::from_repository(uint64_t order_id) {
    if (const auto found = orders_.find(order_id); found != orders_.end())
        found->second.order.source = MoveSource::repository;
}

std::vector<FinishedMove> Orders::holder_gone(BladeId blade) {
    std::vector<FinishedMove> finished;
    for (auto& [id, pending] : orders_)
        if (pending.order.answers_for() == blade && !pending.told)
            finished.push_back(finish(pending, MoveResult::unreachable));
    return finished;
}

std::vector<FinishedMove> Orders::expire(Time now) {
    std::vector<FinishedMove> finished;
    while (!orders_.empty() && now - orders_.begin()->second.started > kTimeout) {
        Pending& oldest = orders_.begin()->second;
        if (!oldest.told) finished.push_back(finish(oldest, MoveResult::lost));
        orders_.erase(orders_.begin());
    }
    return finished;
}

}  // namespace keyrail
