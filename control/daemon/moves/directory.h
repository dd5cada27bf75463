// SPDX-License-Identifier: Apache-2.0
// The moved directory: which sessions are not at their home, and where they are (DESIGN.md sections 2 and 8).
// Learned from finished moves and from what agents announce; bounded; entries go when the session expires.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/daemon/moves/session_name_hash.h"

namespace keyrail {

struct MovedSession {
    SessionName name{};
    uint16_t holder = 0;
    uint64_t expires_ms = 0;  // unix time
};

class Directory {
  public:
    static constexpr size_t kCapacity = size_t{1} << 20;  // about 200 MB
    explicit Directory(size_t capacity = kCapacity) : capacity_(capacity) {}

    /// The session is at `holder` now. When the directory is full, the entry that expires first makes room.
    void set(const MovedSession& session);
    void erase(const SessionName& name);
    /// Forgets all that `holder` has, for what it announces anew, or because it is configured no more.
    void erase_holder(uint16_t holder);
    void sweep(uint64_t now_ms);
    void clear();

    [[nodiscard]] std::optional<MovedSession> find(const SessionName& name, uint64_t now_ms) const;
    [[nodiscard]] std::vector<MovedSession> all(uint64_t now_ms) const;
    [[nodiscard]] size_t size() const { return by_name_.size(); }

  private:
    struct Entry {
        uint16_t holder = 0;
        uint64_t expires_ms = 0;
    };
    using ByName = std::unordered_map<SessionName, Entry, SessionNameHash>;
    ByName::iterator erase(ByName::iterator entry);

    size_t capacity_;
    ByName by_name_;
    std::set<std::pair<uint64_t, SessionName>> by_expiry_;
};

}  // namespace keyrail
