// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/hold.h"

#include <algorithm>
#include <bit>

namespace keyrail {
namespace {

/// Sequence numbers wrap: distance from a to b, negative when b is before a (RFC 9293 section 3.4).
int32_t distance(uint32_t a, uint32_t b) { return static_cast<int32_t>(b - a); }

}  // namespace

HoldTable::HoldTable(uint32_t holds, uint32_t segments)
    : holds_(holds),
      segments_(segments),
      buckets_(std::bit_ceil(size_t{holds} * 2), kNone),
      wheel_(kWheel, kNone) {
    for (uint32_t i = 0; i < holds; i++) holds_[i].next_in_bucket = i + 1 < holds ? i + 1 : kNone;
    for (uint32_t i = 0; i < segments; i++) segments_[i].next = i + 1 < segments ? i + 1 : kNone;
    free_hold_ = holds > 0 ? 0 : kNone;
    free_segment_ = segments > 0 ? 0 : kNone;
}

uint32_t HoldTable::find(uint64_t hash, const Tuple& tuple) const {
    if (in_use_ == 0) return kNone;
    uint32_t slot = buckets_[bucket(hash)];
    while (slot != kNone && !(holds_[slot].hash == hash && holds_[slot].tuple == tuple))
        slot = holds_[slot].next_in_bucket;
    return slot;
}

uint32_t HoldTable::open(uint64_t hash, const Tuple& tuple, uint16_t service, uint32_t base,
                         uint64_t deadline_us) {
    const uint32_t slot = free_hold_;
    if (slot == kNone) return kNone;
    Hold& hold = holds_[slot];
    free_hold_ = hold.next_in_bucket;
    const uint32_t generation = (hold.generation + 1) & 0xffffff;
    hold = {};
    hold.generation = generation;
    hold.tuple = tuple;
    hold.hash = hash;
    hold.service = service;
    hold.base = base;
    hold.deadline_us = deadline_us;
    hold.phase = HoldPhase::collecting;
    hold.next_in_bucket = std::exchange(buckets_[bucket(hash)], slot);
    wheel_insert(slot);
    hold.age_previous = age_tail_;
    (age_tail_ == kNone ? age_head_ : holds_[age_tail_].age_next) = slot;
    age_tail_ = slot;
    in_use_++;
    return slot;
}

uint32_t HoldTable::open_with(const Packet& packet, uint64_t deadline_us) {
    const uint32_t slot = open(packet.hash, packet.h.tuple, packet.service, packet.h.seq, deadline_us);
    if (slot == kNone || add(slot, packet) == AddResult::added) return slot;
    close(slot);
    return kNone;
}

AddResult HoldTable::add(uint32_t slot, rte_mbuf* mbuf, uint32_t seq, Bytes payload, bool fin) {
    Hold& hold = holds_[slot];
    const int32_t start = distance(hold.base, seq);
    const int32_t end = start + static_cast<int32_t>(payload.size());
    if (end > static_cast<int32_t>(kHelloLimit) || start < -static_cast<int32_t>(kHelloLimit))
        return AddResult::full;
    if (end <= 0 && !fin) return AddResult::duplicate;

    // Its place: behind every segment that starts before it. One that another covers brings nothing.
    uint32_t* link = &hold.first;
    for (; *link != kNone; link = &segments_[*link].next) {
        const Segment& s = segments_[*link];
        const int32_t s_start = distance(hold.base, s.seq), s_end = s_start + s.size;
        if (s_start <= start && end <= s_end && (!fin || s.fin)) return AddResult::duplicate;
        if (s_start > start) break;
    }
    const uint32_t fresh = free_segment_;
    if (fresh == kNone) return AddResult::full;
    free_segment_ = segments_[fresh].next;
    segments_[fresh] = {mbuf, payload.data(), seq, *link, static_cast<uint16_t>(payload.size()), fin};
    *link = fresh;
    hold.segments++;
    hold.bytes += static_cast<uint32_t>(payload.size());
    held_++;
    return AddResult::added;
}

uint32_t HoldTable::contiguous(uint32_t slot) const {
    int32_t reached = 0;
    for (uint32_t s = holds_[slot].first; s != kNone; s = segments_[s].next) {
        const int32_t start = distance(holds_[slot].base, segments_[s].seq);
        if (start > reached) break;
        reached = std::max(reached, start + segments_[s].size);
    }
    return static_cast<uint32_t>(reached);
}

Bytes HoldTable::assemble(uint32_t slot, std::span<uint8_t> out) const {
    const Hold& hold = holds_[slot];
    if (hold.first == kNone) return {};
    const Segment& only = segments_[hold.first];
    if (only.next == kNone && only.seq == hold.base) return {only.payload, only.size};
    size_t reached = 0;
    for (uint32_t s = hold.first; s != kNone; s = segments_[s].next) {
        const int32_t start = distance(hold.base, segments_[s].seq);
        const int32_t end = start + segments_[s].size;
        if (start > static_cast<int32_t>(reached)) break;
        if (end <= static_cast<int32_t>(reached)) continue;
        const size_t skip =
            reached - static_cast<size_t>(std::max(start, 0)) + static_cast<size_t>(std::max(-start, 0));
        const size_t n = std::min(segments_[s].size - skip, out.size() - reached);
        std::copy_n(segments_[s].payload + skip, n, out.begin() + static_cast<ptrdiff_t>(reached));
        reached += n;
    }
    return out.first(reached);
}

void HoldTable::set_deadline(uint32_t slot, uint64_t deadline_us) {
    wheel_remove(slot);
    holds_[slot].deadline_us = deadline_us;
    wheel_insert(slot);
}

void HoldTable::close(uint32_t slot) {
    Hold& hold = holds_[slot];
    for (uint32_t s = hold.first; s != kNone;) {
        const uint32_t next = segments_[s].next;
        segments_[s].mbuf = nullptr;
        segments_[s].next = std::exchange(free_segment_, s);
        s = next;
    }
    held_ -= hold.segments;
    in_use_--;
    wheel_remove(slot);
    age_remove(slot);
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

void HoldTable::age_remove(uint32_t slot) {
    Hold& hold = holds_[slot];
    (hold.age_previous == kNone ? age_head_ : holds_[hold.age_previous].age_next) = hold.age_next;
    (hold.age_next == kNone ? age_tail_ : holds_[hold.age_next].age_previous) = hold.age_previous;
}

}  // namespace keyrail
