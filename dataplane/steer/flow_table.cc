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

/// Its own old entry; else a free or expired one of the emptier bucket (two choices keep the table even);
/// else the one that matters least: closed before live, idle longest first.
FlowTable::Entry& FlowTable::place_for(uint64_t hash, uint32_t now_s) {
    struct Choice {
        Entry* free = nullptr;
        int free_count = 0;
    };
    std::array<Choice, 2> choices;
    Entry* worst = nullptr;
    uint64_t worst_score = 0;
    for (size_t i = 0; i < 2; i++) {
        for (Entry& e : buckets_[i == 0 ? first(hash) : second(hash)].entries) {
            if (e.hash == hash && e.blade != 0) return e;
            if (e.blade == 0 || expired(e, now_s)) {
                choices[i].free = &e;
                choices[i].free_count++;
            }
            const uint64_t score = (uint64_t{e.closed} << 32) + (now_s - e.last_seen_s);
            if (worst == nullptr || score > worst_score) {
                worst = &e;
                worst_score = score;
            }
        }
    }
    const Choice& emptier = choices[choices[1].free_count > choices[0].free_count ? 1 : 0];
    if (emptier.free == nullptr) {
        evicted_++;
        return *worst;
    }
    if (emptier.free->blade == 0) used_++;
    return *emptier.free;
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
