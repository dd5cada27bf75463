// SPDX-License-Identifier: Apache-2.0
// The hold table. It keeps a client's first segments until the ClientHello is
// complete and, where its session must move, until the move is acknowledged. Segments of a connection that a
// blade has already are only read in passing: the table keeps a second reference to what was forwarded. For
// one worker; all memory is taken at start.
//
// It never acknowledges anything, so it never owns undelivered data: whatever happens, releasing the segments
// in stream order leaves the client and the blade to sort it out between them (DESIGN.md section 5).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/common/ids.h"
#include "dataplane/wire/headers.h"
#include "dataplane/wire/tls_records.h"

struct rte_mbuf;

namespace keyrail {

/// "None" of a slot or an index.
inline constexpr uint32_t kNone = UINT32_MAX;

enum class HoldPhase : uint8_t {
    free,
    collecting,  // the hello is not complete
    deciding,    // steer decides in this very burst
    moving,      // waits for its session
};

struct Hold {
    Tuple tuple;  // its destination names the service, in whatever snapshot is the current one
    uint64_t hash = 0;
    uint64_t deadline_us = 0;
    uint64_t limit_us = 0;    // collecting: the deadline is never later
    uint64_t since_us = 0;    // its first segment came; moving: its session was asked for
    Seq base;                 // of the stream's first byte
    uint32_t wanted = 0;      // stream bytes that the parser needs at least
    uint32_t reached = 0;     // stream bytes that are there without a gap
    uint32_t first = kNone;   // segments in stream order
    uint32_t edge = kNone;    // the last one before the first gap
    uint32_t last = kNone;    // the last one
    uint32_t generation = 0;  // tells a late answer from the next user of the slot
    uint16_t segments = 0;
    BladeId bound = 0;                             // the blade that has the connection already, 0 = none
    BladeId target = 0;                            // moving: the blade that the client goes to
    TlsVersion tls_version = TlsVersion::unknown;  // moving: of its session
    uint32_t saving_us = 0;  // moving: what a full handshake would take the client longer; 0: not known
    bool fin = false;        // one of the segments has it
    bool read_on = false;  // deciding: the hello is not complete, and is read further on its way to the blade
    HoldPhase phase = HoldPhase::free;
    // intrusive lists
    uint32_t next_in_bucket = kNone;
    uint32_t wheel_next = kNone, wheel_previous = kNone;
    uint32_t age_next = kNone, age_previous = kNone;  // not while moving
};

enum class AddResult : uint8_t {
    added,
    duplicate,      // brings no new byte
    out_of_window,  // not within kHelloMax bytes of the stream's beginning
    too_many,       // the hold has kHoldSegments already
    no_segment,     // none left in the table
};

/// One client's segments in one hold: a hello of kHelloDefault bytes cut to 16-byte segments. A hello in more
/// of them is steered without its name (steer_too_long).
inline constexpr uint16_t kHoldSegments = 1024;

class HoldTable {
  public:
    /// At most `holds` connections and `segments` segments at any time.
    HoldTable(uint32_t holds, uint32_t segments);

    [[nodiscard]] uint32_t find(uint64_t hash, const Tuple& tuple) const {  // slot or kNone
        if (in_use_ == 0 || buckets_[bucket(hash)] == kNone) [[likely]]
            return kNone;
        return find_in(buckets_[bucket(hash)], hash, tuple);
    }
    /// A free slot, entered under this connection; kNone when all are in use.
    uint32_t open(uint64_t hash, const Tuple& tuple, Seq base, uint64_t deadline_us);
    [[nodiscard]] Hold& at(uint32_t slot) { return holds_[slot]; }
    [[nodiscard]] const Hold& at(uint32_t slot) const { return holds_[slot]; }
    /// The one that has been collecting longest, but for `spared`; kNone when there is none.
    [[nodiscard]] uint32_t oldest(uint32_t spared = kNone) const;

    /// `payload` points into the mbuf, which the table owns from `added` on. A FIN counts even without
    /// payload.
    AddResult add(uint32_t slot, rte_mbuf* mbuf, Seq seq, Bytes payload, bool fin);
    /// Copies what is there without a gap to `out` (or as much as fits); a hello in one segment is given as a
    /// view.
    Bytes assemble(uint32_t slot, std::span<uint8_t> out) const;

    /// The stream, if it lies in two segments, one behind the other: views.
    bool in_two_pieces(uint32_t slot, Bytes& first, Bytes& second) const {
        const Hold& hold = holds_[slot];
        if (hold.segments != 2) return false;
        const Segment &one = segments_[hold.first], &other = segments_[one.next];
        if (one.seq != hold.base || other.seq != end_of(one)) return false;
        first = {one.payload, one.size};
        second = {other.payload, other.size};
        return true;
    }

    /// The stream is looked at from `base` on, which lies ahead: whole segments before it go to `take(mbuf)`.
    template <typename Take>
    void move_base(uint32_t slot, Seq base, Take take) {
        Hold& hold = holds_[slot];
        while (hold.first != kNone && end_of(segments_[hold.first]) - base <= 0) take(pop_first(hold));
        set_base(hold, base);
    }
    /// Calls `visit(mbuf)` in stream order, until it says false.
    template <typename Visit>
    void each(uint32_t slot, Visit visit) const {
        for (uint32_t s = holds_[slot].first; s != kNone && visit(segments_[s].mbuf); s = segments_[s].next) {
        }
    }

    void set_deadline(uint32_t slot, uint64_t deadline_us);
    /// The hello is complete, its session moves to `target`. Now nothing but time ends the hold.
    void start_moving(uint32_t slot, BladeId target, uint64_t deadline_us);
    /// Its session does not come, or comes to a blade that the client may not go to: collecting again.
    void stop_moving(uint32_t slot);
    /// The segment added last was forwarded at once.
    void latest_sent() {
        segments_[latest_].sent = true;
        unsent_--;
    }
    /// Hands each mbuf that has not been sent to `send`, in stream order; they stay in the hold to be read.
    template <typename Send>
    void pass_on(uint32_t slot, Send send) {
        for (uint32_t s = holds_[slot].first; s != kNone; s = segments_[s].next) {
            if (std::exchange(segments_[s].sent, true)) continue;
            unsent_--;
            send(segments_[s].mbuf);
        }
    }
    /// Hands the mbufs to `take(mbuf, sent)` in stream order and frees the slot.
    template <typename Take>
    void release(uint32_t slot, Take take) {
        for (uint32_t s = holds_[slot].first; s != kNone; s = segments_[s].next)
            take(segments_[s].mbuf, segments_[s].sent);
        close(slot);
    }
    /// Releases all slots; for the end of the worker.
    template <typename Take>
    void clear(Take take) {
        for (uint32_t slot = 0; slot < holds_.size(); slot++)
            if (holds_[slot].phase != HoldPhase::free) release(slot, take);
    }
    /// Calls `late` for each slot whose deadline has passed; it releases the slot or gives it another
    /// deadline.
    template <typename Late>
    void expire(uint64_t now_us, Late late) {
        const uint64_t tick = now_us / kTickUs;
        if (tick - tick_ > kWheel) tick_ = tick - kWheel;
        for (; tick_ <= tick; tick_++) {
            for (uint32_t s = wheel_[tick_ % kWheel], next = kNone; s != kNone; s = next) {
                next = holds_[s].wheel_next;
                if (holds_[s].deadline_us <= now_us) late(s);
            }
        }
        tick_ = tick;  // the current tick is looked at again: it is not over
    }

    /// Bytes that it takes, from the start on.
    [[nodiscard]] size_t memory() const {
        return holds_.size() * sizeof(Hold) + segments_.size() * sizeof(Segment) +
               (buckets_.size() + wheel_.size()) * sizeof(uint32_t);
    }
    [[nodiscard]] uint32_t capacity() const { return static_cast<uint32_t>(holds_.size()); }
    [[nodiscard]] uint32_t in_use() const { return in_use_; }
    /// Segments that wait here, and with them those that are only kept for reading.
    [[nodiscard]] uint32_t held_segments() const { return unsent_; }
    [[nodiscard]] uint32_t kept_segments() const { return kept_; }

  private:
    struct Segment {
        rte_mbuf* mbuf;
        const uint8_t* payload;
        Seq seq;
        uint32_t next;
        uint16_t size;
        bool sent;
    };
    static constexpr uint64_t kTickUs = 256;
    static constexpr size_t kWheel = 1024;

    /// In this chain.
    [[nodiscard]] uint32_t find_in(uint32_t slot, uint64_t hash, const Tuple& tuple) const;
    uint32_t* place_for(Hold& hold, int64_t start, int64_t end);
    static Seq end_of(const Segment& segment) { return segment.seq + segment.size; }
    void advance(Hold& hold);
    rte_mbuf* pop_first(Hold& hold);
    void set_base(Hold& hold, Seq base);
    void close(uint32_t slot);
    void wheel_insert(uint32_t slot);
    void wheel_remove(uint32_t slot);
    void age_insert(uint32_t slot);
    void age_remove(uint32_t slot);
    [[nodiscard]] size_t bucket(uint64_t hash) const { return hash & bucket_mask_; }

    std::vector<Hold> holds_;
    std::vector<Segment> segments_;
    std::vector<uint32_t> buckets_;
    size_t bucket_mask_;  // vectors do not know that their size is a power of two
    std::vector<uint32_t> wheel_;
    uint32_t free_hold_ = kNone, free_segment_ = kNone;
    uint32_t age_head_ = kNone, age_tail_ = kNone;
    uint32_t latest_ = kNone;
    uint32_t in_use_ = 0, kept_ = 0, unsent_ = 0;
    uint64_t tick_ = 0;
};

}  // namespace keyrail
