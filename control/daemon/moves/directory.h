// SPDX-License-Identifier: Apache-2.0
// The moved directory: which sessions are not at their home, and where they are (DESIGN.md sections 2 and 8).
// Learned from finished moves and from what agents announce with keyraild's receipts; bounded; entries go
// when the session expires. A blade that has less than its share of it cannot lose an entry to another one.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/daemon/moves/session_name_hash.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct MovedSession {
    SessionName name{};
    BladeId holder = 0;
    uint64_t expires_ms = 0;  // unix time
    uint64_t order = 0;       // that brought it there
    ServiceId service;
};

class Directory {
  public:
    static constexpr size_t kCapacity = size_t{1} << 20;  // about 200 MB
    explicit Directory(size_t capacity = kCapacity) : capacity_(capacity) {}

    /// The session is at `holder` now. When the directory is full, of the blade that has most in it the entry
    /// that expires first makes room.
    void set(const MovedSession& session);
    void erase(const SessionName& name);
    /// `holder` begins to announce what it has; what it has not named when it is done is there no more.
    void begin_announcing(BladeId holder) { rounds_[holder]++; }
    void end_announcing(BladeId holder);
    template <typename Which>
    void erase_if(const Which& which) {
        for (auto entry = by_name_.begin(); entry != by_name_.end();)
            entry = which(session_of(*entry)) ? erase(entry) : std::next(entry);
    }
    void sweep(uint64_t now_ms);
    void clear();

    [[nodiscard]] std::optional<MovedSession> find(const SessionName& name, uint64_t now_ms) const;
    [[nodiscard]] std::vector<MovedSession> all(uint64_t now_ms) const;
    [[nodiscard]] size_t size() const { return by_name_.size(); }

  private:
    struct Entry {
        BladeId holder = 0;
        uint64_t expires_ms = 0, order = 0;
        ServiceId service;
        uint32_t round = 0;  // of announcements of its holder
    };
    using ByName = std::unordered_map<SessionName, Entry, SessionNameHash>;
    static MovedSession session_of(const ByName::value_type& entry) {
        const auto& [name, of_it] = entry;
        return {name, of_it.holder, of_it.expires_ms, of_it.order, of_it.service};
    }
    ByName::iterator erase(ByName::iterator entry);
    void make_room();

    size_t capacity_;
    ByName by_name_;
    std::map<BladeId, std::set<std::pair<uint64_t, SessionName>>> by_expiry_;  // of each holder
    std::map<BladeId, uint32_t> rounds_;
};

}  // namespace keyrail
