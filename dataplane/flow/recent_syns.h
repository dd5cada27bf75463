// SPDX-License-Identifier: Apache-2.0
// The blades that recent SYNs were given to, for early binding and plain layer 4: when the ring changes
// before the handshake's last packet comes, that packet must go where the SYN went. Of a fixed size, written
// over freely: a flood of SYNs leaves nothing that grows, and what it writes over goes by the ring. One per
// worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/common/ids.h"

namespace keyrail {

class RecentSyns {
  public:
    static constexpr uint16_t kSeconds = 10;  // a handshake with some lost packets

    explicit RecentSyns(uint16_t seconds = kSeconds) : seconds_(seconds) {}

    /// `hash`: of the connection's tuple, as the flow table has it. `now_s`: monotonic.
    void note(uint64_t hash, BladeId blade, uint32_t now_s) { slot(hash) = {tag(hash), blade, time(now_s)}; }
    /// 0: not known (any more).
    [[nodiscard]] BladeId blade(uint64_t hash, uint32_t now_s) const {
        const Entry& entry = entries_[hash % kEntries];
        const auto age = static_cast<uint16_t>(time(now_s) - entry.seen_s);
        return BladeId(entry.tag == tag(hash) && age <= seconds_ ? uint16_t{entry.blade} : uint16_t{0});
    }

    void forget(uint64_t hash) {
        if (slot(hash).tag == tag(hash)) slot(hash) = {};
    }

  private:
    static constexpr size_t kEntries = 8192;  // 64 KiB
    struct Entry {
        uint32_t tag = 0;
        BladeId blade = 0;
        uint16_t seen_s = 0;
    };
    static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
    static uint16_t time(uint32_t now_s) { return static_cast<uint16_t>(now_s); }
    Entry& slot(uint64_t hash) { return entries_[hash % kEntries]; }

    const uint16_t seconds_;
    std::array<Entry, kEntries> entries_{};
};

}  // namespace keyrail
