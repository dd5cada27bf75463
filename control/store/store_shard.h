// SPDX-License-Identifier: Apache-2.0
// One shard of the store: hash buckets, the list from oldest to newest, the free list, chunked records.
// A view of shared memory; every call needs the shard's lock (ShardGuard).
#pragma once

#include <cstdint>
#include <span>

#include "control/store/store_layout.h"

namespace keyrail {

class Shard {
  public:
    Shard(uint8_t* base, const StoreGeometry& geometry);

    /// Index of the head chunk of `name`, or kNone.
    uint32_t find(const SessionName& name, uint32_t bucket);
    /// Inserts a record that is not there yet; makes room by evicting the oldest.
    void insert(const SessionRecord& record, uint32_t bucket);
    /// False when the record turns out to be damaged; it is gone then.
    bool read(uint32_t index, SessionRecord& out);
    void remove(uint32_t index);
    /// When the oldest record was made; nullopt: there is none.
    [[nodiscard]] std::optional<uint64_t> oldest_ms() const;
    /// False: there is none left. (One that turns out to be damaged is gone, and the next one is taken.)
    bool take_oldest(SessionRecord& out);
    void info(uint32_t index, SessionInfo& out) const;
    /// One use more, if it had `uses_before`.
    bool advance(uint32_t index, uint32_t uses_before, const SessionDigest& digest);
    /// False: it was spent already.
    bool spend_early_data(uint32_t index);
    [[nodiscard]] bool is_head(uint32_t index) const { return state(index) == layout::kHead; }

    /// Into the journal, before it happens.
    void note(const SessionName& name) { note({name, 0, {}}); }
    void note_end(uint32_t index);
    [[nodiscard]] const layout::JournalEntry& noted(uint64_t number) const {
        return journal_[number & (geometry_.journal - 1)];
    }

    /// Makes every list and counter anew from the committed records and wipes all else.
    void rebuild();
    /// First use of fresh memory.
    void format();
    /// Of a shard that is closed for good: no trace of what was in it is left, and its memory is given back.
    void wipe();

    layout::ShardHeader& header() { return *header_; }
    [[nodiscard]] uint32_t chunk_count() const { return geometry_.chunks; }

  private:
    [[nodiscard]] layout::Chunk& chunk(uint32_t index) const { return chunks_[index]; }
    [[nodiscard]] bool valid(uint32_t index) const { return index < geometry_.chunks; }
    [[nodiscard]] uint32_t state(uint32_t index) const {
        return chunks_[index].state.load(std::memory_order_acquire);
    }
    [[nodiscard]] uint32_t bucket_of(const SessionName& name) const;

    void note(const layout::JournalEntry& entry);
    uint32_t pop_free();
    void push_free(uint32_t index);
    bool reserve(uint32_t count);
    void link(uint32_t index, uint32_t bucket);
    bool unlink(uint32_t index);
    void release(uint32_t index);
    void write(uint32_t index, const SessionRecord& record);
    bool claim(uint32_t head);  // rebuild: marks the chunks of a whole record

    const StoreGeometry& geometry_;
    layout::ShardHeader* header_;
    std::span<uint32_t> buckets_;
    std::span<uint32_t> scratch_;  // rebuild only: marks, then the heads in order of age
    layout::JournalEntry* journal_;
    layout::Chunk* chunks_;
};

/// Which shard and bucket a name belongs to.
uint64_t name_hash(const SessionName& name);

/// Chunks that a record with `der_size` bytes takes.
constexpr uint32_t chunks_for(size_t der_size) {
    if (der_size <= layout::kHeadBytes) return 1;
    return 1 + static_cast<uint32_t>((der_size - layout::kHeadBytes + layout::kPartBytes - 1) /
                                     layout::kPartBytes);
}

}  // namespace keyrail
