// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/latest.h"

namespace keyrail {

Latest::Verdict Latest::judge(const SessionName& name, const LatestState& state) const {
    const LatestState* const known = find(name);
    if (known == nullptr) return Verdict::fresh;
    if (known->gone) return state.gone ? Verdict::same : Verdict::stale;
    if (state.gone || state.uses > known->uses) return Verdict::fresh;
    return state == *known ? Verdict::same : Verdict::stale;
}

Latest::Told Latest::tell(uint16_t blade, const SessionName& name, const LatestState& state,
                          uint64_t expires_ms) {
    Told told{judge(name, state), std::nullopt};
    if (told.verdict != Verdict::fresh) return told;
    if (const auto known = sessions_.find(name); known != sessions_.end()) {
        Entry& entry = known->second;
        if (entry.blade != blade) told.superseded = {entry.blade, entry.state};
        if (expires_ms > entry.expires_ms) {
            by_expiry_.erase({entry.expires_ms, name});
            by_expiry_.emplace(entry.expires_ms = expires_ms, name);
        }
        entry.state = state;
        entry.blade = blade;
        return told;
    }
    if (capacity_ == 0) return told;
    if (sessions_.size() >= capacity_) expire_first();
    sessions_.emplace(name, Entry{state, blade, expires_ms});
    by_expiry_.emplace(expires_ms, name);
    return told;
}

const LatestState* Latest::find(const SessionName& name) const {
    const auto known = sessions_.find(name);
    return known == sessions_.end() ? nullptr : &known->second.state;
}

void Latest::expire_first() {
    sessions_.erase(by_expiry_.begin()->second);
    by_expiry_.erase(by_expiry_.begin());
}

void Latest::sweep(uint64_t now_ms) {
    while (!by_expiry_.empty() && by_expiry_.begin()->first <= now_ms) expire_first();
}

}  // namespace keyrail
