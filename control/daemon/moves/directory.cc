// SPDX-License-Identifier: Apache-2.0
// Directory: two indexes over the same entries, by name and by expiry.
#include "control/daemon/moves/directory.h"

namespace keyrail {

Directory::ByName::iterator Directory::erase(ByName::iterator entry) {
    by_expiry_.erase({entry->second.expires_ms, entry->first});
    return by_name_.erase(entry);
}

void Directory::set(const MovedSession& session) {
    erase(session.name);
    if (capacity_ == 0) return;
    if (by_name_.size() >= capacity_) erase(SessionName(by_expiry_.begin()->second));
    by_name_.emplace(session.name, Entry{session.holder, session.expires_ms});
    by_expiry_.emplace(session.expires_ms, session.name);
}

void Directory::erase(const SessionName& name) {
    if (const auto entry = by_name_.find(name); entry != by_name_.end()) erase(entry);
}

void Directory::erase_holder(uint16_t holder) {
    for (auto entry = by_name_.begin(); entry != by_name_.end();)
        entry = entry->second.holder == holder ? erase(entry) : std::next(entry);
}

void Directory::clear() {
    by_name_.clear();
    by_expiry_.clear();
}

void Directory::sweep(uint64_t now_ms) {
    while (!by_expiry_.empty() && by_expiry_.begin()->first <= now_ms)
        erase(SessionName(by_expiry_.begin()->second));
}

std::optional<MovedSession> Directory::find(const SessionName& name, uint64_t now_ms) const {
    const auto entry = by_name_.find(name);
    if (entry == by_name_.end() || entry->second.expires_ms <= now_ms) return std::nullopt;
    return MovedSession{name, entry->second.holder, entry->second.expires_ms};
}

std::vector<MovedSession> Directory::all(uint64_t now_ms) const {
    std::vector<MovedSession> sessions;
    for (const auto& [name, entry] : by_name_)
        if (entry.expires_ms > now_ms) sessions.push_back({name, entry.holder, entry.expires_ms});
    return sessions;
}

}  // namespace keyrail
