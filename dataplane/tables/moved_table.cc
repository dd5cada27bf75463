// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/moved_table.h"

#include <algorithm>
#include <cstring>

#include "dataplane/common/ids.h"

namespace keyrail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;

constexpr uint64_t kMark = uint64_t{1} << 63;
constexpr unsigned kHolderBits = 16;

using Bucket = MovedTable::Bucket;

/// Half of the name's encrypted block: a name that is looked for is whole (its tag was checked), so nobody
/// chooses these bits, and they are as good as random.
uint64_t fingerprint(const SessionName& name) {
    constexpr size_t kBlockAt = 1;
    uint64_t bits = 0;
    std::memcpy(&bits, &name[kBlockAt], sizeof bits);
    return bits != 0 ? bits : 1;
}

uint64_t pack(BladeId holder, uint32_t expires_s) { return uint64_t{expires_s} << kHolderBits | holder; }
BladeId holder_of(uint64_t where) { return BladeId(static_cast<uint16_t>(where)); }
uint32_t expiry_of(uint64_t where) { return static_cast<uint32_t>(where >> kHolderBits); }

bool marked(const Bucket& bucket) { return (bucket.places[0].load(kRelaxed) & kMark) != 0; }
void mark(Bucket& bucket) { bucket.places[0].store(bucket.places[0].load(kRelaxed) | kMark, kRelease); }

/// Where this name's session is, by this bucket; 0: it is not in it. The name is looked at again: another
/// entry may have got its place meanwhile.
[[gnu::always_inline]] inline uint64_t look_in(const Bucket& bucket, uint64_t name) {
    for (size_t i = 0; i < Bucket::kPlaces; i++) {
        if (bucket.names[i].load(kAcquire) != name) [[likely]]
            continue;
        const uint64_t where = bucket.places[i].load(kAcquire) & ~kMark;
        if (bucket.names[i].load(kRelaxed) == name) return where;
    }
    return 0;
}

size_t free_in(const Bucket& bucket) {
    size_t i = 0;
    while (i < Bucket::kPlaces && bucket.names[i].load(kRelaxed) != 0) i++;
    return i;
}

}  // namespace

MovedTable::MovedTable(std::span<Bucket> buckets, uint32_t capacity)
    : buckets_(buckets), mask_(buckets.size() - 1), capacity_(capacity) {
    take_over();
}

Result<std::unique_ptr<MovedTable>> MovedTable::create(uint32_t capacity) {
    const size_t count = buckets_for(capacity);
    auto memory = std::make_unique<Bucket[]>(count);
    auto made = std::make_unique<MovedTable>(std::span(memory.get(), count), capacity);
    made->own_ = std::move(memory);
    return made;
}

/// Entries where no look-up would find them, of no blade, or there twice (whoever wrote them was killed while
/// one went from one bucket to the other) are wiped; marks are set anew.
void MovedTable::take_over() {
    for (Bucket& bucket : buckets_)
        bucket.places[0].store(bucket.places[0].load(kRelaxed) & ~kMark, kRelaxed);
    for (size_t at = 0; at < buckets_.size(); at++) {
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            const uint64_t name = buckets_[at].names[i].load(kRelaxed);
            if (name == 0) continue;
            const bool right_place = at == first(name) || at == second(name);
            const bool real_holder =
                BladeId::from(static_cast<uint16_t>(buckets_[at].places[i].load(kRelaxed))).has_value();
            const Place earliest = right_place && real_holder ? place_of(name) : Place{};
            const bool once = earliest.bucket == &buckets_[at] && earliest.index == i;
            if (!once || size_ == capacity_) {
                buckets_[at].names[i].store(0, kRelaxed);
                continue;
            }
            size_++;
            if (at != first(name)) mark(buckets_[first(name)]);
        }
    }
}

uint64_t MovedTable::look(uint64_t name) const {
    const Bucket& home = buckets_[first(name)];
    if (const uint64_t where = look_in(home, name); where != 0) return where;
    return marked(home) ? look_in(buckets_[second(name)], name) : 0;
}

void MovedTable::find(std::span<const SessionName* const> names, uint32_t now_s,
                      std::span<BladeId> holders) const {
    for (const SessionName* name : names) __builtin_prefetch(&buckets_[first(fingerprint(*name))]);
    uint64_t before = 0;
    do {  // once more if an entry may have passed us on its way from one bucket to the other
        before = displaced_.load(kAcquire);
        for (size_t i = 0; i < names.size(); i++) {
            const uint64_t where = look(fingerprint(*names[i]));
            holders[i] = expiry_of(where) > now_s ? holder_of(where) : BladeId{};
        }
        std::atomic_thread_fence(kAcquire);
    } while (displaced_.load(kRelaxed) != before);
}

std::optional<BladeId> MovedTable::find(const SessionName& name, uint32_t now_s) const {
    const SessionName* const one = &name;
    BladeId holder = 0;
    find({&one, 1}, now_s, {&holder, 1});
    return holder != 0 ? std::optional(holder) : std::nullopt;
}

MovedTable::Place MovedTable::place_of(uint64_t name) const {
    for (const size_t at : {first(name), second(name)})
        for (size_t i = 0; i < Bucket::kPlaces; i++)
            if (buckets_[at].names[i].load(kRelaxed) == name) return {&buckets_[at], i};
    return {};
}

/// In this order, also in memory: a reader, or the next process, finds an entry whole or not at all.
void MovedTable::put(Place place, uint64_t name, uint64_t where) {
    auto& [names, places] = *place.bucket;
    names[place.index].store(0, kRelaxed);
    const uint64_t mark = places[place.index].load(kRelaxed) & kMark;
    std::atomic_thread_fence(kRelease);
    places[place.index].store(where | mark, kRelease);
    names[place.index].store(name, kRelease);
}

void MovedTable::take_out(Place place) {
    place.bucket->names[place.index].store(0, kRelease);
    size_--;
}

/// One of this bucket's goes to its other bucket, if that has a place, which makes one here.
MovedTable::Place MovedTable::displace(size_t from) {
    Bucket& bucket = buckets_[from];
    for (size_t i = 0; i < Bucket::kPlaces; i++) {
        const uint64_t name = bucket.names[i].load(kRelaxed);
        Bucket& other = buckets_[first(name) ^ second(name) ^ from];
        const size_t free = free_in(other);
        if (free == Bucket::kPlaces) continue;
        if (from == first(name)) mark(bucket);
        put({&other, free}, name, bucket.places[i].load(kRelaxed) & ~kMark);
        displaced_.store(displaced_.load(kRelaxed) + 1, kRelease);  // before it is gone from here
        bucket.names[i].store(0, kRelease);
        return {&bucket, i};
    }
    return {};
}

MovedTable::Place MovedTable::free_place(uint64_t name) {
    if (const size_t free = free_in(buckets_[first(name)]); free < Bucket::kPlaces)
        return {&buckets_[first(name)], free};
    if (const size_t free = free_in(buckets_[second(name)]); free < Bucket::kPlaces)
        return {&buckets_[second(name)], free};
    const Place made = displace(first(name));
    return made.bucket != nullptr ? made : displace(second(name));
}

bool MovedTable::set(const SessionName& name, BladeId holder, uint32_t expires_s, uint32_t now_s) {
    const uint64_t wanted = fingerprint(name);
    const uint64_t where = pack(holder, expires_s);
    if (const Place known = place_of(wanted); known.bucket != nullptr) {
        auto& place = known.bucket->places[known.index];
        place.store(where | (place.load(kRelaxed) & kMark), kRelease);
        return true;
    }
    if (size_ >= capacity_) {
        sweep_at_ = 0;
        do sweep(now_s);
        while (sweep_at_ != 0);
    }
    const Place place = size_ < capacity_ ? free_place(wanted) : Place{};
    if (place.bucket == nullptr) return false;
    if (place.bucket != &buckets_[first(wanted)])
        mark(buckets_[first(wanted)]);  // first, or no reader looks there
    put(place, wanted, where);
    size_++;
    return true;
}

void MovedTable::erase(const SessionName& name) {
    if (const Place place = place_of(fingerprint(name)); place.bucket != nullptr) take_out(place);
}

void MovedTable::clear() {
    for (Bucket& bucket : buckets_) {
        for (auto& name : bucket.names) name.store(0, kRelease);
        bucket.places[0].store(bucket.places[0].load(kRelaxed) & ~kMark, kRelease);
    }
    size_ = 0;
}

void MovedTable::sweep(uint32_t now_s) {
    constexpr size_t kStep = 4096;  // the control thread must not stand still
    const size_t end = std::min(sweep_at_ + kStep, buckets_.size());
    for (; sweep_at_ < end; sweep_at_++)
        for (size_t i = 0; i < Bucket::kPlaces; i++) {
            Bucket& bucket = buckets_[sweep_at_];
            const uint64_t where = bucket.places[i].load(kRelaxed) & ~kMark;
            if (bucket.names[i].load(kRelaxed) != 0 && expiry_of(where) <= now_s) take_out({&bucket, i});
        }
    if (sweep_at_ == buckets_.size()) sweep_at_ = 0;
}

}  // namespace keyrail
