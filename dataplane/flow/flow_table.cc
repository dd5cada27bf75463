// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_table.h"

#include <algorithm>

namespace keyrail {

FlowTable::FlowTable(std::span<Bucket> buckets) : buckets_(buckets), mask_(buckets.size() - 1) {}

/// The one that matters least: expired, then closed, then idle longest.
FlowTable::Place FlowTable::worst(const Candidates& both, uint32_t now) {
    Place worst{&both.buckets[both.first], 0};
    uint64_t worst_score = 0;
    for (Bucket* bucket : {&both.buckets[both.first], &both.buckets[both.second]}) {
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            const Flow& flow = bucket->flows[i];
            const uint64_t rank = expired(flow, now) ? 2 : flow.closed;
            const uint64_t score = (rank << 32) + (now - flow.last_seen);
            if (score <= worst_score) continue;
            worst = {bucket, i};
            worst_score = score;
        }
    }
    return worst;
}

/// One of the eight goes to its other bucket, if that has a place: then nobody has to go (Pagh and Rodler,
/// "Cuckoo hashing", 2001, one step deep). Bucket nullptr: all those are full, too.
FlowTable::Place FlowTable::displace(const Candidates& both) {
    for (const size_t here : {both.first, both.second}) {
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            const uint64_t hash = buckets_[here].hashes[i];
            Bucket& other = buckets_[first(hash) ^ second(hash) ^ here];
            const auto* free = std::ranges::find(other.hashes, uint64_t{0});
            if (free == other.hashes.end()) continue;
            const auto at = static_cast<size_t>(free - other.hashes.begin());
            other.hashes[at] = hash;
            other.flows[at] = buckets_[here].flows[i];
            return {&buckets_[here], i};
        }
    }
    return {nullptr, 0};
}

/// A free place of the emptier bucket: two choices keep the table even. Else that of a flow that is over,
/// else one that is made, else one that a living flow gives up.
FlowTable::Place FlowTable::new_place(uint64_t hash, uint32_t now) {
    constexpr unsigned kBitsOfFirst = 0xff;
    const Candidates both = candidates(hash);
    const unsigned free = both.with(0), in_first = free & kBitsOfFirst, in_second = free & ~kBitsOfFirst;
    if (free != 0) {
        used_++;
        return both.lowest(__builtin_popcount(in_second) > __builtin_popcount(in_first) ? in_second
                                                                                        : in_first);
    }
    const Place place = worst(both, now);
    if (expired(*place.flow(), now)) return place;
    if (place.flow()->closed == 0) {
        if (const Place made = displace(both); made.bucket != nullptr) {
            used_++;
            return made;
        }
    }
    evicted_++;
    return place;
}

Flow* FlowTable::insert(uint64_t hash, uint16_t blade, uint32_t now) {
    Place place = place_of(hash);
    if (place.bucket == nullptr) {
        place = new_place(hash, now);
        place.bucket->hashes[place.index] = hash;
    }
    *place.flow() = {now, blade, 0, 0};
    inserted_++;
    return place.flow();
}

void FlowTable::erase(uint64_t hash) {
    const Place place = place_of(hash);
    if (place.bucket == nullptr) return;
    place.bucket->hashes[place.index] = 0;  // it would hide the flow's next entry behind it
    used_--;
    *place.flow() = {};
}

}  // namespace keyrail
