// SPDX-License-Identifier: Apache-2.0
// The latest state of every session that agents have told of: how often it was used, the running digest of
// its handshakes, whether it is gone. What is behind that is a copy: a restored backup, a replayed record, a
// second one of the same session (DESIGN.md section 7). Pure; messages are the caller's (checkpoints.cc).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "control/daemon/moves/session_name_hash.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct LatestState {
    uint32_t uses = 0;
    std::array<uint8_t, 32> digest{};
    bool gone = false;

    bool operator==(const LatestState&) const = default;
};

class Latest {
  public:
    static constexpr size_t kCapacity = size_t{1} << 19;  // about 120 MB
    explicit Latest(size_t capacity = kCapacity) : capacity_(capacity) {}

    enum class Verdict : uint8_t {
        fresh,  // later than what was known, or the first word of it
        same,
        stale,  // older, or as many uses with another digest, or it is gone
    };
    [[nodiscard]] Verdict judge(const SessionName& name, const LatestState& state) const;

    /// `blade` says so. When another blade told of the state before, `superseded` is that blade and state:
    /// should it still have it, that is a copy.
    struct Told {
        Verdict verdict = Verdict::fresh;
        std::optional<std::pair<BladeId, LatestState>> superseded;
    };
    /// When the table is full, of the blade that told of most the session that expires first makes room: no
    /// blade that has less than its share can lose anything to another one.
    Told tell(BladeId blade, const SessionName& name, const LatestState& state, uint64_t expires_ms);

    [[nodiscard]] const LatestState* find(const SessionName& name) const;
    void sweep(uint64_t now_ms);
    [[nodiscard]] size_t size() const { return sessions_.size(); }

  private:
    struct Entry {
        LatestState state;
        BladeId blade = 0;  // who said so
        uint64_t expires_ms = 0;
    };
    using ByExpiry = std::set<std::pair<uint64_t, SessionName>>;
    void index(const SessionName& name, const Entry& entry);
    void drop_from_index(const SessionName& name, const Entry& entry);
    void make_room();

    size_t capacity_;
    std::unordered_map<SessionName, Entry, SessionNameHash> sessions_;
    std::map<BladeId, ByExpiry> by_expiry_;  // of each blade that told
};

}  // namespace keyrail
