// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/hold.h"

#include <algorithm>
#include <bit>

#include "dataplane/common/ids.h"

namespace keyrail {

HoldTable::HoldTable(uint32_t holds, uint32_t segments)
    : holds_(holds),
      segments_(segments),
      buckets_(std::bit_ceil(size_t{holds} * 2), kNone),
      bucket_mask_(buckets_.size() - 1),
      wheel_(kWheel, kNone) {
    for (uint32_t i = 0; i < holds; i++) holds_[i].next_in_bucket = i + 1 < holds ? i + 1 : kNone;
    for (uint32_t i = 0; i < segments; i++) segments_[i].next = i + 1 < segments ? i + 1 : kNone;
    free_hold_ = holds > 0 ? 0 : kNone;
    free_segment_ = segments > 0 ? 0 : kNone;
}

uint32_t HoldTable::find_in(uint32_t slot, uint64_t hash, const Tuple& tuple) const {
    while (slot != kNone && !(holds_[slot].hash == hash && holds_[slot].tuple == tuple))
        slot = holds_[slot].next_in_bucket;
    return slot;
}

uint32_t HoldTable::open(uint64_t hash, const Tuple& tuple, Seq base, uint64_t deadline_us) {
    const uint32_t slot = free_hold_;
    if (slot == kNone) return kNone;
    Hold& hold = holds_[slot];
    free_hold_ = hold.next_in_bucket;
    const uint32_t generation = (hold.generation + 1) % MoveId::kGenerations;
    hold = {};
    hold.generation = generation;
    hold.tuple = tuple;
    hold.hash = hash;
    hold.base = base;
    hold.deadline_us = hold.since_us = deadline_us;
    hold.phase = HoldPhase::collecting;
    hold.next_in_bucket = std::exchange(buckets_[bucket(hash)], slot);
    wheel_insert(slot);
    age_insert(slot);
    in_use_++;
    return slot;
}

uint32_t HoldTable::oldest(uint32_t spared) const {
    uint32_t slot = age_head_;
    while (slot != kNone && (slot == spared || holds_[slot].phase != HoldPhase::collecting))
        slot = holds_[slot].age_next;
    return slot;
}

/// The link behind which the stream bytes [start, end) belong: right behind the edge when they touch what is
/// there without a gap, else among the later ones by where they start. nullptr: another segment has them all.
uint32_t* HoldTable::place_for(Hold& hold, int64_t start, int64_t end) {
    const auto covers = [&](const Segment& s, int64_t from) { return from <= start && end <= from + s.size; };
    uint32_t* link = hold.edge == kNone ? &hold.first : &segments_[hold.edge].next;
    if (start <= hold.reached) return link;
    if (hold.last != hold.edge) {  // mostly it is the latest
        Segment& s = segments_[hold.last];
        const int64_t from = s.seq - hold.base;
        if (covers(s, from)) return nullptr;
        if (from <= start) return &s.next;
    }
    for (; *link != kNone; link = &segments_[*link].next) {
        const Segment& s = segments_[*link];
        const int64_t from = s.seq - hold.base;
        if (covers(s, from)) return nullptr;
        if (from > start) break;
    }
    return link;
}

void HoldTable::advance(Hold& hold) {
    uint32_t s = hold.edge == kNone ? hold.first : segments_[hold.edge].next;
    for (; s != kNone; s = segments_[s].next) {
        const int64_t start = segments_[s].seq - hold.base, end = start + segments_[s].size;
        if (start > hold.reached) return;
        if (end > hold.reached) hold.reached = static_cast<uint32_t>(end);
        hold.edge = s;
    }
}

AddResult HoldTable::add(uint32_t slot, rte_mbuf* mbuf, Seq seq, Bytes payload, bool fin) {
    Hold& hold = holds_[slot];
    const int64_t start = seq - hold.base, end = start + static_cast<int64_t>(payload.size());
    constexpr int64_t kReach = kHelloMax;
    if (end > kReach || start < -kReach) return AddResult::out_of_window;
    const bool new_fin = fin && !hold.fin;
    if (end <= hold.reached && !new_fin) return AddResult::duplicate;
    uint32_t* link = place_for(hold, start, end);
    if (link == nullptr && !new_fin) return AddResult::duplicate;
    if (hold.segments == kHoldSegments) return AddResult::too_many;
    const uint32_t fresh = free_segment_;
    if (fresh == kNone) return AddResult::no_segment;
    if (link == nullptr) link = &segments_[hold.last].next;
    free_segment_ = segments_[fresh].next;
    segments_[fresh] = {mbuf, payload.data(), seq, *link, static_cast<uint16_t>(payload.size()), false};
    if (*link == kNone) hold.last = fresh;
    *link = latest_ = fresh;
    hold.fin |= fin;
    hold.segments++;
    kept_++;
    unsent_++;
    advance(hold);
    return AddResult::added;
}

rte_mbuf* HoldTable::pop_first(Hold& hold) {
    const uint32_t s = hold.first;
    Segment& segment = segments_[s];
    hold.first = segment.next;
    if (hold.edge == s) hold.edge = kNone;
    if (hold.last == s) hold.last = kNone;
    segment.next = std::exchange(free_segment_, s);
    hold.segments--;
    kept_--;
    if (!segment.sent) unsent_--;
    return std::exchange(segment.mbuf, nullptr);
}

void HoldTable::set_base(Hold& hold, Seq base) {
    const int64_t passed = base - hold.base;
    hold.reached -= static_cast<uint32_t>(std::min<int64_t>(hold.reached, passed));
    hold.base = base;
    advance(hold);
}

Bytes HoldTable::assemble(uint32_t slot, std::span<uint8_t> out) const {
    const Hold& hold = holds_[slot];
    if (hold.first == kNone) return {};
    const Segment& only = segments_[hold.first];
    if (only.next == kNone && only.seq == hold.base) return {only.payload, only.size};
    uint32_t reached = 0;
    for (uint32_t s = hold.first; reached < std::min<size_t>(hold.reached, out.size());
         s = segments_[s].next) {
        const Segment& segment = segments_[s];
        const int64_t skip = int64_t{reached} - (segment.seq - hold.base);
        if (skip >= segment.size) continue;
        const size_t n = std::min<size_t>(segment.size - static_cast<size_t>(skip), out.size() - reached);
        std::copy_n(segment.payload + skip, n, out.begin() + reached);
        reached += static_cast<uint32_t>(n);
    }
    return out.first(reached);
}

void HoldTable::set_deadline(uint32_t slot, uint64_t deadline_us) {
    wheel_remove(slot);
    holds_[slot].deadline_us = deadline_us;
    wheel_insert(slot);
}

void HoldTable::start_moving(uint32_t slot, BladeId target, uint64_t deadline_us) {
    age_remove(slot);
    holds_[slot].phase = HoldPhase::moving;
    holds_[slot].target = target;
    set_deadline(slot, deadline_us);
}

void HoldTable::stop_moving(uint32_t slot) {
    holds_[slot].phase = HoldPhase::collecting;
    age_insert(slot);
}

void HoldTable::close(uint32_t slot) {
    Hold& hold = holds_[slot];
    for (uint32_t s = hold.first; s != kNone;) {
        const uint32_t next = segments_[s].next;
        segments_[s].mbuf = nullptr;
        if (!segments_[s].sent) unsent_--;
        segments_[s].next = std::exchange(free_segment_, s);
        s = next;
    }
    kept_ -= hold.segments;
    in_use_--;
    wheel_remove(slot);
    if (hold.phase != HoldPhase::moving) age_remove(slot);
    uint32_t* link = &buckets_[bucket(hold.hash)];
    while (*link != slot) link = &holds_[*link].next_in_bucket;
    *link = hold.next_in_bucket;
    hold.phase = HoldPhase::free;
    hold.first = kNone;
    hold.segments = 0;
    hold.next_in_bucket = std::exchange(free_hold_, slot);
}

void HoldTable::wheel_insert(uint32_t slot) {
    Hold& hold = holds_[slot];
    uint32_t& head = wheel_[hold.deadline_us / kTickUs % kWheel];
    hold.wheel_previous = kNone;
    hold.wheel_next = head;
    if (head != kNone) holds_[head].wheel_previous = slot;
    head = slot;
}

void HoldTable::wheel_remove(uint32_t slot) {
    Hold& hold = holds_[slot];
    if (hold.wheel_previous != kNone) {
        holds_[hold.wheel_previous].wheel_next = hold.wheel_next;
    } else {
        wheel_[hold.deadline_us / kTickUs % kWheel] = hold.wheel_next;
    }
    if (hold.wheel_next != kNone) holds_[hold.wheel_next].wheel_previous = hold.wheel_previous;
}

void HoldTable::age_insert(uint32_t slot) {
    holds_[slot].age_next = kNone;
    holds_[slot].age_previous = age_tail_;
    (age_tail_ == kNone ? age_head_ : holds_[age_tail_].age_next) = slot;
    age_tail_ = slot;
}

void HoldTable::age_remove(uint32_t slot) {
    Hold& hold = holds_[slot];
    (hold.age_previous == kNone ? age_head_ : holds_[hold.age_previous].age_next) = hold.age_next;
    (hold.age_next == kNone ? age_tail_ : holds_[hold.age_next].age_previous) = hold.age_previous;
}

}  // namespace keyrail
