// SPDX-License-Identifier: Apache-2.0
// Directory: two indexes over the same entries, by name, and by holder and expiry.
#include "control/daemon/moves/directory.h"

#include <algorithm>

namespace keyrail {

Directory::ByName::iterator Directory::erase(ByName::iterator entry) {
    const auto of_holder = by_expiry_.find(entry->second.holder);
    of_holder->second.erase({entry->second.expires_ms, entry->first});
    if (of_holder->second.empty()) by_expiry_.erase(of_holder);
    return by_name_.erase(entry);
}

void Directory::make_room() {
    const auto most =
        std::ranges::max_element(by_expiry_, {}, [](const auto& of) { return of.second.size(); });
    erase(SessionName(most->second.begin()->second));
}

void Directory::set(const MovedSession& session) {
    erase(session.name);
    if (capacity_ == 0) return;
    if (by_name_.size() >= capacity_) make_room();
    by_name_.emplace(session.name, Entry{session.holder, session.expires_ms, session.order, session.service,
                                         rounds_[session.holder]});
    by_expiry_[session.holder].emplace(session.expires_ms, session.name);
}

void Directory::erase(const SessionName& name) {
    if (const auto entry = by_name_.find(name); entry != by_name_.end()) erase(entry);
}

void Directory::end_announcing(BladeId holder) {
    const uint32_t round = rounds_[holder];
    for (auto entry = by_name_.begin(); entry != by_name_.end();)
        entry =
            entry->second.holder == holder && entry->second.round != round ? erase(entry) : std::next(entry);
}

void Directory::clear() {
    by_name_.clear();
    by_expiry_.clear();
}

void Directory::sweep(uint64_t now_ms) {
    for (auto of = by_expiry_.begin(); of != by_expiry_.end();) {
        auto& expiries = of->second;
        for (; !expiries.empty() && expiries.begin()->first <= now_ms; expiries.erase(expiries.begin()))
            by_name_.erase(expiries.begin()->second);
        of = expiries.empty() ? by_expiry_.erase(of) : std::next(of);
    }
}

std::optional<MovedSession> Directory::find(const SessionName& name, uint64_t now_ms) const {
    const auto entry = by_name_.find(name);
    if (entry == by_name_.end() || entry->second.expires_ms <= now_ms) return std::nullopt;
    return session_of(*entry);
}

std::vector<MovedSession> Directory::all(uint64_t now_ms) const {
    std::vector<MovedSession> sessions;
    for (const auto& entry : by_name_)
        if (entry.second.expires_ms > now_ms) sessions.push_back(session_of(entry));
    return sessions;
}

}  // namespace keyrail
