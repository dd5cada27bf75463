// SPDX-License-Identifier: Apache-2.0
// Sessions that are not at their home: name -> holder (DESIGN.md section 4, "moved table"). Written by the
// control thread, read by the workers without a lock. A name that has not moved, which nearly all have not,
// costs one prefetched cache line.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

class MovedTable {
  public:
    /// One cache line. A name is in the bucket that it says itself, or in the other one that it says, where
    /// that was full; then the first one is marked.
    struct alignas(64) Bucket {
        static constexpr size_t kPlaces = 4;
        std::array<std::atomic<uint64_t>, kPlaces> names;  // 64 bits of each (fingerprint()); 0 = free
        std::array<std::atomic<uint64_t>, kPlaces>
            places;  // expiry << 16 | holder; bit 63 of the first: the mark
    };
    static_assert(sizeof(Bucket) == 64);

    /// For so many sessions: at most half of all places are in use.
    static constexpr size_t buckets_for(uint32_t capacity);

    /// `buckets`: a power of two, owned by the caller, who outlives the table. What is in them already, of an
    /// earlier process, goes on where it makes sense, and is wiped where it does not.
    MovedTable(std::span<Bucket> buckets, uint32_t capacity);
    /// With memory of its own.
    static Result<std::unique_ptr<MovedTable>> create(uint32_t capacity);
    MovedTable(const MovedTable&) = delete;
    MovedTable& operator=(const MovedTable&) = delete;

    /// Workers, a burst at a time (64 names at most): who has each session, 0 = it has not moved. `now_s` =
    /// unix time; entries past their expiry do not count.
    void find(std::span<const SessionName* const> names, uint32_t now_s, std::span<BladeId> holders) const;
    [[nodiscard]] std::optional<BladeId> find(const SessionName& name, uint32_t now_s) const;

    // --- control thread only ---
    /// False when the table is full even after expired entries were swept out.
    bool set(const SessionName& name, BladeId holder, uint32_t expires_s, uint32_t now_s);
    void erase(const SessionName& name);
    void clear();
    /// A part of the table at a time: entries past their expiry are gone after some calls.
    void sweep(uint32_t now_s);
    [[nodiscard]] uint32_t size() const { return size_; }

  private:
    struct Place {
        Bucket* bucket = nullptr;  // nullptr: none
        size_t index = 0;
    };
    [[nodiscard]] size_t first(uint64_t name) const { return name & mask_; }
    // other bits say it, and it is another bucket
    [[nodiscard]] size_t second(uint64_t name) const { return (first(name) ^ ((name >> 32) | 1)) & mask_; }
    [[nodiscard]] uint64_t look(uint64_t name) const;
    [[nodiscard]] Place place_of(uint64_t name) const;
    [[nodiscard]] Place free_place(uint64_t name);
    Place displace(size_t from);
    void put(Place place, uint64_t name, uint64_t where);
    void take_out(Place place);
    void take_over();

    std::unique_ptr<Bucket[]> own_;
    std::span<Bucket> buckets_;
    size_t mask_;
    uint32_t capacity_, size_ = 0;
    size_t sweep_at_ = 0;
    std::atomic<uint64_t> displaced_{0};  // entries that went from one bucket to the other
};

constexpr size_t MovedTable::buckets_for(uint32_t capacity) {
    size_t buckets = 2;
    while (buckets * Bucket::kPlaces < size_t{2} * capacity) buckets *= 2;
    return buckets;
}

}  // namespace keyrail
