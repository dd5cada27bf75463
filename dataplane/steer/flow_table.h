// SPDX-License-Identifier: Apache-2.0
// Flow table: connection -> blade, for one worker. No pointers, no keys: 16 bytes a flow, found by a 64-bit
// keyed hash (of 2^32 flows, one in 2^29 would meet another's hash in its eight places). Two candidate cache
// lines for each flow; where both are full the entry that was idle longest makes room, closed ones first.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "dataplane/parse/headers.h"

namespace keyrail {

/// Keyed hash of a connection; the key is secret, so that nobody can aim at a bucket.
class FlowHash {
  public:
    explicit FlowHash(uint64_t key) : key_(key) {}
    uint64_t operator()(const Tuple& tuple) const;

  private:
    uint64_t key_;
};

class FlowTable {
  public:
    static constexpr uint32_t kClosedSeconds = 60;      // after FIN or RST (facts: TIME_WAIT on the blade)
    static constexpr uint32_t kIdleSeconds = 2 * 3600;  // as Linux's tcp_keepalive_time

    struct Entry {
        uint64_t hash = 0;
        uint32_t last_seen_s = 0;
        uint16_t blade = 0;     // 0 = free
        uint8_t closed = 0;     // FIN or RST seen
        uint8_t hello_due = 0;  // its SYN went to the blade: the hello comes on a connection that is bound
    };
    static_assert(sizeof(Entry) == 16);
    struct alignas(64) Bucket {
        std::array<Entry, 4> entries;
    };

    /// `buckets`: a power of two, zeroed, owned by the caller, who outlives the table.
    explicit FlowTable(std::span<Bucket> buckets);

    void prefetch(uint64_t hash) const {
        __builtin_prefetch(&buckets_[first(hash)]);
        __builtin_prefetch(&buckets_[second(hash)]);
    }
    /// The live entry of this flow or nullptr. Valid until the next insert.
    Entry* find(uint64_t hash, uint32_t now_s);
    /// Enters or replaces. Never fails: an older flow may have to go.
    Entry* insert(uint64_t hash, uint16_t blade, uint32_t now_s);
    void erase(uint64_t hash);

    [[nodiscard]] uint64_t size() const { return used_; }        // entries in use, expired ones included
    [[nodiscard]] uint64_t evicted() const { return evicted_; }  // live entries that had to make room

  private:
    [[nodiscard]] size_t first(uint64_t hash) const { return hash & mask_; }
    // the other bucket depends on other bits, and is another bucket
    [[nodiscard]] size_t second(uint64_t hash) const { return (first(hash) ^ ((hash >> 32) | 1)) & mask_; }
    static bool expired(const Entry& e, uint32_t now_s) {
        return now_s - e.last_seen_s > (e.closed ? kClosedSeconds : kIdleSeconds);
    }
    Entry& place_for(uint64_t hash, uint32_t now_s);

    std::span<Bucket> buckets_;
    size_t mask_;
    uint64_t used_ = 0, evicted_ = 0;
};

}  // namespace keyrail
