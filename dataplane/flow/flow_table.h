// SPDX-License-Identifier: Apache-2.0
// Flow table: connection -> blade, for one worker. No pointers, no keys: 16 bytes a flow, found by a 64-bit
// keyed hash (of 2^32 flows, one in 2^29 would meet another's hash in its eight places). Two candidate cache
// lines for each flow; where both are full the entry that was idle longest makes room, closed ones first.
// Time is monotonic, in sixteenths of a second ("ticks"): when closed flows fill the table within a second,
// the one that makes room must be one whose last acknowledgement has long passed.
#pragma once

#include <smmintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace keyrail {

inline constexpr uint32_t kFlowTicks = 16;  // in a second

/// What is known of a flow. 8 bytes.
struct Flow {
    uint32_t last_seen = 0;  // in ticks; at most a second behind
    uint16_t blade = 0;      // 0 = free
    uint8_t closed = 0;      // FIN or RST seen
    uint8_t hello_due = 0;   // its SYN went to the blade: the hello comes on a connection that is bound

    /// Once a second, not with each packet: the line need not go back to memory.
    void seen(uint32_t now) {
        if (now - last_seen >= kFlowTicks) last_seen = now;
    }
    void close(uint32_t now) {
        closed = 1;
        last_seen = now;
    }
};
static_assert(sizeof(Flow) == 8);

class FlowTable {
  public:
    static constexpr uint32_t kClosedTicks = 60 * kFlowTicks;      // after FIN or RST: TIME_WAIT on the blade
    static constexpr uint32_t kIdleTicks = 2 * 3600 * kFlowTicks;  // as Linux's tcp_keepalive_time

    /// One cache line: all hashes together, so that they are compared at once.
    struct alignas(64) Bucket {
        static constexpr size_t kPlaces = 4;
        std::array<uint64_t, kPlaces> hashes;  // 0 = free
        std::array<Flow, kPlaces> flows;
    };
    static_assert(sizeof(Bucket) == 64);

    /// `buckets`: a power of two, zeroed, owned by the caller, who outlives the table.
    explicit FlowTable(std::span<Bucket> buckets);

    /// Inlined come what may: GCC takes a function that only prefetches for one without effect, and drops
    /// calls of it before it would have inlined them.
    [[gnu::always_inline]] void prefetch(uint64_t hash) const {
        __builtin_prefetch(&buckets_[first(hash)]);
        __builtin_prefetch(&buckets_[second(hash)]);
    }
    /// The live flow with this hash or nullptr. Valid until the next insert.
    [[nodiscard]] Flow* find(uint64_t hash, uint32_t now) {
        const Place place = place_of(hash);
        if (place.bucket == nullptr) return nullptr;
        Flow* flow = place.flow();
        if (now - flow->last_seen < kFlowTicks && flow->blade != 0) [[likely]]
            return flow;
        return flow->blade == 0 || expired(*flow, now) ? nullptr : flow;
    }
    /// Enters or replaces. Never fails: an older flow may have to go.
    Flow* insert(uint64_t hash, uint16_t blade, uint32_t now);
    void erase(uint64_t hash);

    /// Calls of insert(): as long as it stays the same, a flow that was not there is not there.
    [[nodiscard]] uint64_t inserted() const { return inserted_; }
    [[nodiscard]] uint64_t size() const { return used_; }        // entries in use, expired ones included
    [[nodiscard]] uint64_t evicted() const { return evicted_; }  // live entries that had to make room

  private:
    [[nodiscard]] size_t first(uint64_t hash) const { return hash & mask_; }
    // the other bucket depends on other bits, and is another bucket
    [[nodiscard]] size_t second(uint64_t hash) const { return (first(hash) ^ ((hash >> 32) | 1)) & mask_; }
    static bool expired(const Flow& flow, uint32_t now) {
        return now - flow.last_seen > (flow.closed ? kClosedTicks : kIdleTicks);
    }
    struct Place {
        Bucket* bucket;
        size_t index;
        [[nodiscard]] Flow* flow() const { return &bucket->flows[index]; }
    };
    /// The two buckets of a flow, and which of their eight places have some hash: two bits for each, the
    /// first bucket's below. All are compared at once, and no branch depends on which it was: a quarter of
    /// all flows is in the second bucket, which no CPU can guess.
    struct Candidates {
        std::span<Bucket> buckets;
        size_t first, second;

        [[nodiscard]] unsigned with(uint64_t hash) const {
            const __m128i wanted = _mm_set1_epi64x(static_cast<long long>(hash));
            const auto pair = [&](size_t bucket, size_t i) {
                const uint64_t* two = &buckets[bucket].hashes[i];
                return _mm_cmpeq_epi64(wanted, _mm_load_si128(reinterpret_cast<const __m128i*>(two)));
            };
            const __m128i four_a = _mm_packs_epi32(pair(first, 0), pair(first, 2));
            const __m128i four_b = _mm_packs_epi32(pair(second, 0), pair(second, 2));
            return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(four_a, four_b)));
        }
        /// The lowest of `places`, of which there must be one.
        [[nodiscard]] Place lowest(unsigned places) const {
            const auto which = static_cast<size_t>(__builtin_ctz(places)) / 2;
            const size_t in_second = 0 - which / Bucket::kPlaces;  // all ones or none
            return {&buckets[first ^ ((first ^ second) & in_second)], which % Bucket::kPlaces};
        }
    };
    [[nodiscard]] Candidates candidates(uint64_t hash) const { return {buckets_, first(hash), second(hash)}; }
    /// Where this hash is; bucket nullptr: nowhere.
    [[nodiscard]] Place place_of(uint64_t hash) const {
        const Candidates both = candidates(hash);
        const unsigned here = both.with(hash);
        return here != 0 ? both.lowest(here) : Place{nullptr, 0};
    }
    Place displace(const Candidates& both);
    [[nodiscard]] static Place worst(const Candidates& both, uint32_t now);
    Place new_place(uint64_t hash, uint32_t now);

    std::span<Bucket> buckets_;
    size_t mask_;
    uint64_t used_ = 0, evicted_ = 0, inserted_ = 0;
};

}  // namespace keyrail
