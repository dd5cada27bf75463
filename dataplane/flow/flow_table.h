// SPDX-License-Identifier: Apache-2.0
// Flow table: connection -> blade, for one worker. No pointers, no keys: 16 bytes a flow, found by a 64-bit
// keyed hash (of 2^32 flows, one in 2^29 would meet another's hash in its eight places). Two candidate cache
// lines for each flow; where both are full the entry that was idle longest makes room, ended ones first.
// Time is monotonic, in sixteenths of a second ("ticks"): when ended flows fill the table within a second,
// the one that makes room must be one whose last acknowledgement has long passed.
//
// A flow ends when both sides have said FIN, or one has said RST (RFC 9293 section 3.6). The client's word
// counts only where its sequence number can be its own: others know its address and ports, too. The blade's
// word is heard where its packets come back through us; where they do not, a flow is half-closed until it is
// idle for too long, which costs room but no connection.
#pragma once

#include <smmintrin.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/common/ids.h"
#include "dataplane/wire/headers.h"

namespace keyrail {

inline constexpr uint32_t kFlowTicks = 16;  // in a second

/// What is known of a flow. 8 bytes.
struct Flow {
    uint32_t last_seen = 0;          // in ticks; at most a second behind
    uint16_t blade_number : 12 = 0;  // 0 = free
    bool hello_due : 1 = false;    // its SYN went to the blade: the hello comes on a connection that is bound
    bool client_done : 1 = false;  // the client said FIN or RST
    bool blade_done : 1 = false;   // the blade said FIN
    bool reset : 1 = false;        // one of them said RST
    uint16_t place = 0;            // upper half of a sequence number that the client had a second ago

    Flow() = default;
    Flow(uint32_t now, BladeId blade_id, Seq seq)
        : last_seen(now), blade_number(blade_id & BladeId::kMax), place(place_of(seq)) {}

    [[nodiscard]] BladeId blade() const { return BladeId(uint16_t{blade_number}); }
    /// Once a second, not with each packet: the line need not go back to memory.
    void seen(uint32_t now, Seq seq) {
        if (now - last_seen < kFlowTicks) [[likely]]
            return;
        last_seen = now;
        if (plausible(seq)) place = place_of(seq);
    }
    /// A FIN or RST of the client's, or of somebody who knows its address and ports. When the blade has
    /// finished, little is lost by believing it, and a fast upload's flow ends.
    void client_says(uint8_t flags, uint32_t now, Seq seq) {
        if (!plausible(seq) && !blade_done) return;
        client_done = true;
        if (flags & kRst) reset = true;
        last_seen = now;
    }
    /// A FIN or RST of its blade's.
    void blade_says(uint8_t flags, uint32_t now) {
        if (flags & kFin) blade_done = true;
        if (flags & kRst) reset = client_done = true;  // whatever the client meant to say
        last_seen = now;
    }
    /// Its client says anything but RST: somebody else had said that, or it was said before.
    void goes_on() { reset = false; }
    [[nodiscard]] bool ended() const { return reset || (client_done && blade_done); }
    /// Neither an established flow nor one that only its blade has finished with.
    [[nodiscard]] bool needs_a_look() const { return (hello_due | client_done) != 0; }  // one test
    /// Can the client be there? It sends a second's worth of data at most before `place` follows it: 16 MiB
    /// of 4 GiB, and as much behind as networks turn round. A faster upload's FIN is believed once its blade
    /// has finished; else it is not, which is safe.
    [[nodiscard]] bool plausible(Seq seq) const {
        constexpr int64_t kBehind = 128 << 10, kAhead = 16 << 20;
        const int64_t ahead = seq - Seq(uint32_t{place} << 16);
        return ahead >= -kBehind && ahead <= kAhead;
    }

    /// Has the client been there? Then it sends again what its blade may not have.
    [[nodiscard]] bool passed(Seq seq) const {
        constexpr int64_t kStep = 64 << 10;  // of `place`
        return plausible(seq) && seq - Seq(uint32_t{place} << 16) < kStep;
    }

  private:
    static uint16_t place_of(Seq seq) { return static_cast<uint16_t>(seq.value() >> 16); }
};
static_assert(sizeof(Flow) == 8);

class FlowTable {
  public:
    /// After the end: TIME_WAIT on the blade. Linux's lasts 60 s, and its timer of that length may be an
    /// eighth late (kernel/time/timer.c); `last_seen` is up to a second old.
    static constexpr uint32_t kEndedTicks = 75 * kFlowTicks;
    /// Linux's tcp_keepalive_time is 2 h, and RFC 5382 REQ-5 asks for 2 h 4 min: half an hour for a few
    /// probes.
    static constexpr uint32_t kIdleTicks = 9000 * kFlowTicks;

    /// One cache line: all hashes together, so that they are compared at once.
    struct alignas(64) Bucket {
        static constexpr size_t kPlaces = 4;
        std::array<uint64_t, kPlaces> hashes;  // 0 = free
        std::array<Flow, kPlaces> flows;
    };
    static_assert(sizeof(Bucket) == 64);

    /// `buckets`: a power of two, zeroed, owned by the caller, who outlives the table.
    explicit FlowTable(std::span<Bucket> buckets);
    /// What is in them already, of an earlier process, is counted; what that one had not written whole is
    /// wiped.
    void count();

    /// Inlined come what may: GCC takes a function that only prefetches for one without effect, and drops
    /// calls of it before it would have inlined them.
    [[gnu::always_inline]] void prefetch(uint64_t hash) const {
        __builtin_prefetch(&buckets_[first(hash)]);
        __builtin_prefetch(&buckets_[second(hash)]);
    }
    /// The live flow with this hash or nullptr. Valid until the next insert. `idle`: after so many ticks it
    /// is forgotten.
    [[nodiscard]] Flow* find(uint64_t hash, uint32_t now, uint32_t idle = kIdleTicks) {
        return find(hash, now, [idle] { return idle; });
    }
    /// `idle()` is asked only where it matters. Inlined: a call of it would be a tenth of an established
    /// packet.
    template <std::invocable Idle>
    [[nodiscard, gnu::always_inline]] inline Flow* find(uint64_t hash, uint32_t now, Idle idle) {
        const Candidates both = candidates(hash);
        const unsigned here = both.with(hash);
        if (here == 0) return nullptr;
        Flow* flow = both.lowest(here).flow();
        if (now - flow->last_seen < kFlowTicks && flow->blade_number != 0) [[likely]]
            return flow;
        return flow->blade_number == 0 || expired(*flow, now, idle()) ? nullptr : flow;
    }
    /// Enters or replaces. Never fails: an older flow may have to go.
    Flow* insert(uint64_t hash, const Flow& flow);
    void erase(uint64_t hash);

    /// Calls of insert(): as long as it stays the same, a flow that was not there is not there.
    [[nodiscard]] uint64_t inserted() const { return inserted_; }
    [[nodiscard]] uint64_t size() const { return used_; }        // entries in use, expired ones included
    [[nodiscard]] uint64_t evicted() const { return evicted_; }  // live entries that had to make room

  private:
    [[nodiscard]] size_t first(uint64_t hash) const { return hash & mask_; }
    // the other bucket depends on other bits, and is another bucket
    [[nodiscard]] size_t second(uint64_t hash) const { return (first(hash) ^ ((hash >> 32) | 1)) & mask_; }
    static bool expired(const Flow& flow, uint32_t now, uint32_t idle) {
        return now - flow.last_seen > (flow.ended() ? kEndedTicks : idle);
    }
    struct Place {
        Bucket* bucket;
        size_t index;
        [[nodiscard]] Flow* flow() const { return &bucket->flows[index]; }
        void put(uint64_t hash, const Flow& flow) const;
    };
    /// The two buckets of a flow, and which of their eight places have some hash: two bits for each, the
    /// first bucket's below. All are compared at once, and no branch depends on which it was: a quarter of
    /// all flows is in the second bucket, which no CPU can guess.
    struct Candidates {
        Bucket* buckets;
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
    [[nodiscard]] Candidates candidates(uint64_t hash) const {
        return {buckets_.data(), first(hash), second(hash)};
    }
    /// Where this hash is; bucket nullptr: nowhere.
    [[nodiscard]] Place place_of(uint64_t hash) const {
        const Candidates both = candidates(hash);
        const unsigned here = both.with(hash);
        return here != 0 ? both.lowest(here) : Place{nullptr, 0};
    }
    Place displace(const Candidates& both);
    [[nodiscard]] static uint64_t rank(const Flow& flow, uint32_t now);
    [[nodiscard]] static Place worst(const Candidates& both, uint32_t now);
    Place new_place(uint64_t hash, uint32_t now);

    std::span<Bucket> buckets_;
    size_t mask_;
    uint64_t used_ = 0, evicted_ = 0, inserted_ = 0;
};

}  // namespace keyrail
