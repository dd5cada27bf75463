// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steer/flow_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {

uint64_t FlowHash::operator()(const Tuple& tuple) const {
    return XXH3_64bits_withSeed(&tuple, sizeof tuple, key_);
}

FlowTable::FlowTable(std::span<Bucket> buckets) : buckets_(buckets), mask_(buckets.size() - 1) {}

FlowTable::Entry* FlowTable::find(uint64_t hash, uint32_t now_s) {
    for (const size_t b : {first(hash), second(hash)})
        for (Entry& e : buckets_[b].entries)
            if (e.hash == hash && e.blade != 0) return expired(e, now_s) ? nullptr : &e;
    return nullptr;
}

/// Its own old entry, else a free or expired one, else the one that matters least.
FlowTable::Entry& FlowTable::place_for(uint64_t hash, uint32_t now_s) {
    const auto cost = [&](const Entry& e) -> uint64_t {
        if (e.blade == 0) return 1;
        if (expired(e, now_s)) return 2;
        // closed before live; idle longest first
        return (e.closed ? 0 : 1ull << 33) + (1ull << 32) - (now_s - e.last_seen_s) + 2;
    };
    Entry* best = nullptr;
    for (const size_t b : {first(hash), second(hash)}) {
        for (Entry& e : buckets_[b].entries) {
            if (e.hash == hash && e.blade != 0) return e;
            if (best == nullptr || cost(e) < cost(*best)) best = &e;
        }
    }
    if (best->blade == 0) {
        used_++;
    } else if (!expired(*best, now_s)) {
        evicted_++;
    }
    return *best;
}

FlowTable::Entry* FlowTable::insert(uint64_t hash, uint16_t blade, uint32_t now_s) {
    Entry& e = place_for(hash, now_s);
    e = {hash, now_s, blade, 0, 0};
    return &e;
}

void FlowTable::erase(uint64_t hash) {
    for (const size_t b : {first(hash), second(hash)}) {
        for (Entry& e : buckets_[b].entries) {
            if (e.hash != hash || e.blade == 0) continue;
            e = {};
            used_--;
            return;
        }
    }
}

}  // namespace keyrail
