// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/latest.h"

#include <algorithm>

namespace keyrail {

Latest::Verdict Latest::judge(const SessionName& name, const LatestState& state) const {
    const LatestState* const known = find(name);
    if (known == nullptr) return Verdict::fresh;
    if (known->gone) return state.gone ? Verdict::same : Verdict::stale;
    if (state.gone || state.uses > known->uses) return Verdict::fresh;
    return state == *known ? Verdict::same : Verdict::stale;
}

Latest::Told Latest::tell(BladeId blade, const SessionName& name, const LatestState& state,
                          uint64_t expires_ms) {
    Told told{judge(name, state), std::nullopt};
    if (told.verdict != Verdict::fresh) return told;
    if (const auto known = sessions_.find(name); known != sessions_.end()) {
        Entry& entry = known->second;
        if (entry.blade != blade) told.superseded = {entry.blade, entry.state};
        drop_from_index(name, entry);
        entry.state = state;
        entry.blade = blade;
        entry.expires_ms = std::max(entry.expires_ms, expires_ms);
        index(name, entry);
        return told;
    }
    if (capacity_ == 0) return told;
    if (sessions_.size() >= capacity_) make_room();
    index(name, sessions_.emplace(name, Entry{state, blade, expires_ms}).first->second);
    return told;
}

const LatestState* Latest::find(const SessionName& name) const {
    const auto known = sessions_.find(name);
    return known == sessions_.end() ? nullptr : &known->second.state;
}

void Latest::index(const SessionName& name, const Entry& entry) {
    by_expiry_[entry.blade].emplace(entry.expires_ms, name);
}

void Latest::drop_from_index(const SessionName& name, const Entry& entry) {
    const auto of_blade = by_expiry_.find(entry.blade);
    of_blade->second.erase({entry.expires_ms, name});
    if (of_blade->second.empty()) by_expiry_.erase(of_blade);
}

void Latest::make_room() {
    const auto most =
        std::ranges::max_element(by_expiry_, {}, [](const auto& of) { return of.second.size(); });
    const auto first = sessions_.find(most->second.begin()->second);
    drop_from_index(first->first, first->second);
    sessions_.erase(first);
}

void Latest::sweep(uint64_t now_ms) {
    for (auto of = by_expiry_.begin(); of != by_expiry_.end();) {
        ByExpiry& expiries = of->second;
        for (; !expiries.empty() && expiries.begin()->first <= now_ms; expiries.erase(expiries.begin()))
            sessions_.erase(expiries.begin()->second);
        of = expiries.empty() ? by_expiry_.erase(of) : std::next(of);
    }
}

}  // namespace keyrail
