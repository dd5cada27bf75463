// SPDX-License-Identifier: Apache-2.0
// Fences: what was purged here a moment ago. A session of it that was under way meanwhile, by an order from
// before the purge, is destroyed when it arrives or would be put back.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>

#include "control/protocol/purged.h"
#include "control/store/store.h"

namespace keyrail {

class Fences {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::seconds kFor{60};  // longer than any order lives
    static constexpr size_t kMax = 1024;

    /// By the purge with this number: orders with a lower one are from before. What was made here until
    /// `now_ms`, is.
    void add(const Purged& purged, uint64_t number, Time now, uint64_t now_ms) {
        while (!fences_.empty() && now > fences_.front().until) fences_.pop_front();
        // Too many to remember each: one that means everything takes the place of the two oldest.
        if (fences_.size() >= kMax) {
            const uint64_t below = std::max(fences_[0].number, fences_[1].number);
            fences_[1] = {Purged{}, below, fences_[1].until, fences_[1].made_ms};
            fences_.pop_front();
        }
        fences_.push_back({purged, number, now + kFor, now_ms});
    }
    [[nodiscard]] bool stop(uint64_t order_id, const SessionInfo& session) const {
        return std::ranges::any_of(fences_, [&](const Fence& fence) {
            return order_id < fence.number && fence.purged.means(session.name, session.service);
        });
    }

    /// A server had taken it for a handshake when all was purged, and has put it back. What an order brought
    /// here is as new as that; what was made here, as it says.
    [[nodiscard]] bool outlived(const SessionInfo& session, Time now) const {
        const bool brought = session.receipt != MoveReceipt{};
        const uint64_t order = order_of(session.receipt);
        return std::ranges::any_of(fences_, [&](const Fence& fence) {
            const bool before = brought ? order < fence.number : session.created_ms <= fence.made_ms;
            return before && now <= fence.until && fence.purged.means(session.name, session.service);
        });
    }
    [[nodiscard]] bool any(Time now) const { return !fences_.empty() && now <= fences_.back().until; }

  private:
    /// A receipt begins with the number of its order (daemon/keys/receipts.h).
    static uint64_t order_of(const MoveReceipt& receipt) {
        uint64_t order = 0;
        for (size_t i = 0; i < sizeof order; i++) order = order << 8 | receipt[i];
        return order;
    }
    struct Fence {
        Purged purged;
        uint64_t number;
        Time until;
        uint64_t made_ms;
    };
    std::deque<Fence> fences_;  // oldest first
};

}  // namespace keyrail
