// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_table.h"

#include <algorithm>
#include <atomic>

namespace keyrail {

FlowTable::FlowTable(std::span<Bucket> buckets) : buckets_(buckets), mask_(buckets.size() - 1) {}

void FlowTable::count() {
    used_ = 0;
    for (Bucket& bucket : buckets_) {
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            if (bucket.flows[i].blade_number == 0) bucket.hashes[i] = 0;
            used_ += bucket.hashes[i] != 0 ? 1 : 0;
        }
    }
}

/// In this order, also in memory: of a process that is killed between two stores another one finds the flow
/// as it was, or none, never one under another's hash.
void FlowTable::Place::put(uint64_t hash, const Flow& flow) const {
    bucket->hashes[index] = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    bucket->flows[index] = flow;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    bucket->hashes[index] = hash;
}

/// How little a flow matters: it has expired; it has ended; only its client has finished; none of these.
/// Whose service asks for another time of idleness is not known here, and the usual one is good enough.
uint64_t FlowTable::rank(const Flow& flow, uint32_t now) {
    if (expired(flow, now, kIdleTicks)) return 3;
    return flow.ended() ? 2 : flow.client_done;
}

/// The one that matters least, and among equals the one that was idle longest. One that has ended is not
/// missed, though its blade may have it in TIME_WAIT: a SYN is answered then as if it were known (stage
/// bind).
FlowTable::Place FlowTable::worst(const Candidates& both, uint32_t now) {
    Place worst{&both.buckets[both.first], 0};
    uint64_t worst_score = 0;
    for (Bucket* bucket : {&both.buckets[both.first], &both.buckets[both.second]}) {
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            const Flow& flow = bucket->flows[i];
            const uint64_t score = (rank(flow, now) << 32) + (now - flow.last_seen);
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
            Place{&other, at}.put(hash, buckets_[here].flows[i]);
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
    if (expired(*place.flow(), now, kIdleTicks)) return place;
    if (!place.flow()->ended()) {
        if (const Place made = displace(both); made.bucket != nullptr) {
            used_++;
            return made;
        }
    }
    evicted_++;
    return place;
}

Flow* FlowTable::insert(uint64_t hash, const Flow& flow) {
    Place place = place_of(hash);
    if (place.bucket == nullptr) place = new_place(hash, flow.last_seen);
    place.put(hash, flow);
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
