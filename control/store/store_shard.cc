// SPDX-License-Identifier: Apache-2.0
#include "control/store/store_shard.h"

#include <strings.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace keyrail {

using layout::Chunk;
using layout::Head;
using layout::kNone;
using layout::once;

namespace {

constexpr uint32_t kMaxParts = chunks_for(kMaxSessionDer) - 1;

void bump(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

void wipe_chunk(Chunk& chunk) {
    chunk.state.store(layout::kFree, std::memory_order_release);
    explicit_bzero(reinterpret_cast<uint8_t*>(&chunk) + offsetof(Chunk, next),
                   sizeof(Chunk) - offsetof(Chunk, next));
}

}  // namespace

uint64_t name_hash(const SessionName& name) {
    uint64_t word[4];
    std::memcpy(word, name.data(), sizeof word);
    uint64_t hash = 0x9e3779b97f4a7c15;
    for (const uint64_t w : word) {
        hash = (hash ^ w) * 0xff51afd7ed558ccd;
        hash ^= hash >> 32;
    }
    return hash;
}

Shard::Shard(uint8_t* base, const StoreGeometry& geometry)
    : geometry_(geometry),
      header_(reinterpret_cast<layout::ShardHeader*>(base)),
      buckets_(reinterpret_cast<uint32_t*>(base + sizeof(layout::ShardHeader)), geometry.buckets),
      scratch_(buckets_.data() + geometry.buckets, geometry.chunks),
      journal_(reinterpret_cast<layout::JournalEntry*>(base + geometry.journal_offset)),
      chunks_(reinterpret_cast<Chunk*>(base + geometry.chunk_offset)) {}

void Shard::note(const layout::JournalEntry& entry) {
    const uint64_t number = header_->journaled.load(std::memory_order_relaxed);
    journal_[number & (geometry_.journal - 1)] = entry;
    header_->journaled.store(number + 1, std::memory_order_release);
}

void Shard::note_end(uint32_t index) { note({chunk(index).head.name, 1, chunk(index).head.receipt}); }

uint32_t Shard::bucket_of(const SessionName& name) const {
    return static_cast<uint32_t>(name_hash(name) >> 16) & (geometry_.buckets - 1);
}

uint32_t Shard::find(const SessionName& name, uint32_t bucket) {
    uint32_t index = once(buckets_[bucket]);
    for (uint32_t steps = 0; index != kNone; steps++) {
        if (!valid(index) || state(index) != layout::kHead || steps > geometry_.chunks) {
            rebuild();
            return kNone;
        }
        if (chunk(index).head.name == name) return index;
        index = once(chunk(index).head.hash_next);
    }
    return kNone;
}

uint32_t Shard::pop_free() {
    const uint32_t index = once(header_->free_first);
    if (!valid(index) || state(index) != layout::kFree) return kNone;
    header_->free_first = chunk(index).next;
    header_->free_count--;
    header_->used_chunks++;
    return index;
}

void Shard::push_free(uint32_t index) {
    wipe_chunk(chunk(index));
    chunk(index).next = header_->free_first;
    header_->free_first = index;
    header_->free_count++;
    header_->used_chunks--;
}

bool Shard::reserve(uint32_t count) {
    for (uint32_t steps = 0; header_->free_count < count; steps++) {
        const uint32_t oldest = once(header_->oldest);
        if (!valid(oldest) || state(oldest) != layout::kHead || steps > geometry_.chunks) return false;
        remove(oldest);
        bump(header_->evicted);
    }
    return true;
}

void Shard::insert(const SessionRecord& record, uint32_t bucket) {
    const uint32_t count = chunks_for(record.der_size);
    if (!reserve(count)) {
        rebuild();
        if (!reserve(count)) return;
    }
    uint32_t head = kNone;
    uint32_t last = kNone;
    for (uint32_t part = 0; part < count; part++) {
        const uint32_t index = pop_free();
        if (index ==
            kNone) {  // damaged free list: the chunks taken so far are not committed, so it wipes them
            rebuild();
            return;
        }
        if (part == 0) {
            head = index;
        } else {
            chunk(last).next = index;
            chunk(index).owner = head;
            chunk(index).part = part;
        }
        last = index;
    }
    chunk(last).next = kNone;
    write(head, record);
    link(head, bucket);
    bump(header_->puts);
}

void Shard::write(uint32_t index, const SessionRecord& record) {
    Chunk& first = chunk(index);
    Head& head = first.head;
    head.serial = ++header_->serial;
    head.created_ms = record.created_ms;
    head.authenticated_ms = record.authenticated_ms;
    head.expires_ms = record.expires_ms;
    head.name = record.name;
    head.uses = record.uses;
    head.tls_version = record.tls_version;
    head.port = record.port;
    head.der_size = record.der_size;
    head.site = record.site;
    head.receipt = record.receipt;
    head.service = record.service;
    head.digest = record.digest;
    head.flags = static_cast<uint8_t>((record.single_use ? layout::kSingleUse : 0) |
                                      (record.moved_in ? layout::kMovedIn : 0) |
                                      (record.early_data_spent ? layout::kEarlyDataSpent : 0));

    std::span<const uint8_t> rest = record.der_bytes();
    size_t size = std::min(rest.size(), head.der.size());
    std::memcpy(head.der.data(), rest.data(), size);
    rest = rest.subspan(size);
    for (uint32_t next = once(first.next); !rest.empty() && valid(next); next = once(chunk(next).next)) {
        size = std::min(rest.size(), layout::kPartBytes);
        std::memcpy(chunk(next).bytes.data(), rest.data(), size);
        chunk(next).state.store(layout::kPart, std::memory_order_relaxed);
        rest = rest.subspan(size);
    }
    first.state.store(layout::kHead, std::memory_order_release);  // from here on it exists
}

void Shard::link(uint32_t index, uint32_t bucket) {
    Head& head = chunk(index).head;
    head.hash_next = once(buckets_[bucket]);
    buckets_[bucket] = index;
    const uint32_t newest = once(header_->newest);
    head.older = newest;
    head.newer = kNone;
    if (valid(newest)) {
        chunk(newest).head.newer = index;
    } else {
        header_->oldest = index;
    }
    header_->newest = index;
    header_->sessions++;
}

bool Shard::unlink(uint32_t index) {
    const Head& head = chunk(index).head;
    const uint32_t hash_next = once(head.hash_next), older = once(head.older), newer = once(head.newer);
    uint32_t* slot = &buckets_[bucket_of(head.name)];
    uint32_t at = once(*slot);
    for (uint32_t steps = 0; at != index; steps++) {
        if (!valid(at) || steps > geometry_.chunks) return false;
        slot = &chunk(at).head.hash_next;
        at = once(*slot);
    }
    *slot = hash_next;
    if ((older != kNone && !valid(older)) || (newer != kNone && !valid(newer))) return false;
    (older == kNone ? header_->oldest : chunk(older).head.newer) = newer;
    (newer == kNone ? header_->newest : chunk(newer).head.older) = older;
    header_->sessions--;
    return true;
}

void Shard::release(uint32_t index) {
    uint32_t next = once(chunk(index).next);
    push_free(index);
    for (uint32_t part = 1; part <= kMaxParts && valid(next); part++) {
        const Chunk& piece = chunk(next);
        if (state(next) != layout::kPart || piece.owner != index || piece.part != part) break;
        const uint32_t after = once(piece.next);
        push_free(next);
        next = after;
    }
}

void Shard::remove(uint32_t index) {
    chunk(index).state.store(layout::kFree, std::memory_order_release);  // from here on it is gone
    if (!unlink(index)) {
        rebuild();
        return;
    }
    release(index);
}

std::optional<uint64_t> Shard::oldest_ms() const {
    const uint32_t oldest = once(header_->oldest);
    if (!valid(oldest) || state(oldest) != layout::kHead) return std::nullopt;
    return once(chunk(oldest).head.created_ms);
}

bool Shard::take_oldest(SessionRecord& out) {
    for (uint32_t steps = 0; steps <= geometry_.chunks; steps++) {
        const uint32_t oldest = once(header_->oldest);
        if (!valid(oldest) || state(oldest) != layout::kHead) return false;
        const bool whole = read(oldest, out);
        if (!whole) continue;
        remove(oldest);
        return true;
    }
    return false;
}

void Shard::info(uint32_t index, SessionInfo& out) const {
    const Head& head = chunk(index).head;
    const uint8_t flags = once(head.flags);
    out.name = head.name;
    out.tls_version = head.tls_version;
    out.port = head.port;
    out.single_use = flags & layout::kSingleUse;
    out.moved_in = flags & layout::kMovedIn;
    out.uses = head.uses;
    out.created_ms = head.created_ms;
    out.authenticated_ms = head.authenticated_ms;
    out.expires_ms = head.expires_ms;
    out.early_data_spent = flags & layout::kEarlyDataSpent;
    out.service = head.service;
    out.digest = head.digest;
    out.site = head.site;
    out.receipt = head.receipt;
}

bool Shard::advance(uint32_t index, uint32_t uses_before, const SessionDigest& digest) {
    Head& head = chunk(index).head;
    if (head.uses != uses_before) return false;
    head.digest =
        digest;  // a process that dies between the two leaves a digest that nobody else has: refused
    head.uses = uses_before + 1;
    return true;
}

bool Shard::spend_early_data(uint32_t index) {
    Head& head = chunk(index).head;
    const uint8_t flags = once(head.flags);
    head.flags = flags | layout::kEarlyDataSpent;
    return (flags & layout::kEarlyDataSpent) == 0;
}

bool Shard::read(uint32_t index, SessionRecord& out) {
    info(index, out);
    const Chunk& first = chunk(index);
    const uint16_t der_size = once(first.head.der_size);
    if (der_size > kMaxSessionDer) {
        remove(index);
        return false;
    }
    size_t done = std::min<size_t>(der_size, layout::kHeadBytes);
    std::memcpy(out.der.data(), first.head.der.data(), done);
    uint32_t next = once(first.next);
    for (uint32_t part = 1; done < der_size; part++) {
        if (!valid(next) || state(next) != layout::kPart || chunk(next).owner != index ||
            chunk(next).part != part) {
            remove(index);
            return false;
        }
        const size_t size = std::min<size_t>(der_size - done, layout::kPartBytes);
        std::memcpy(out.der.data() + done, chunk(next).bytes.data(), size);
        done += size;
        next = once(chunk(next).next);
    }
    out.der_size = der_size;
    return true;
}

bool Shard::claim(uint32_t head) {
    const uint16_t der_size = once(chunk(head).head.der_size);
    if (der_size > kMaxSessionDer) return false;
    const uint32_t count = chunks_for(der_size);
    uint32_t next = once(chunk(head).next);
    for (uint32_t part = 1; part < count; part++) {
        if (!valid(next) || state(next) != layout::kPart || chunk(next).owner != head ||
            chunk(next).part != part || scratch_[next] != 0)
            return false;
        next = once(chunk(next).next);
    }
    scratch_[head] = 1;
    next = once(chunk(head).next);
    for (uint32_t part = 1; part < count && valid(next); part++) {
        scratch_[next] = 1;
        next = once(chunk(next).next);
    }
    return true;
}

void Shard::rebuild() {
    std::fill(scratch_.begin(), scratch_.end(), 0);
    for (uint32_t i = 0; i < geometry_.chunks; i++) {
        if (state(i) == layout::kHead) claim(i);
    }
    header_->free_first = kNone;
    header_->free_count = 0;
    header_->used_chunks = geometry_.chunks;
    for (uint32_t i = geometry_.chunks; i-- > 0;) {
        if (scratch_[i] == 0) push_free(i);
    }
    uint32_t heads = 0;
    for (uint32_t i = 0; i < geometry_.chunks; i++) {
        if (state(i) == layout::kHead) scratch_[heads++] = i;
    }
    // A heap sort stays within its range whatever the comparison says; std::sort need not.
    const auto older = [this](uint32_t a, uint32_t b) {
        return valid(a) && valid(b) && chunk(a).head.serial < chunk(b).head.serial;
    };
    const auto first = scratch_.begin();
    std::make_heap(first, first + heads, older);
    std::sort_heap(first, first + heads, older);
    std::fill(buckets_.begin(), buckets_.end(), kNone);
    header_->oldest = header_->newest = kNone;
    header_->sessions = 0;
    for (uint32_t i = 0; i < heads; i++) {
        const uint32_t index = once(scratch_[i]);
        if (!valid(index)) continue;
        header_->serial = std::max(once(header_->serial), once(chunk(index).head.serial));
        link(index, bucket_of(chunk(index).head.name));
    }
    bump(header_->rebuilt);
}

void Shard::wipe() {
    explicit_bzero(journal_, geometry_.journal * sizeof *journal_);
    explicit_bzero(chunks_, geometry_.chunks * sizeof *chunks_);
    const auto begin = (reinterpret_cast<uintptr_t>(chunks_) + 4095) & ~uintptr_t{4095};
    const auto end = reinterpret_cast<uintptr_t>(chunks_ + geometry_.chunks) & ~uintptr_t{4095};
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_REMOVE);
}

void Shard::format() {
    rebuild();  // of zeroed memory: everything is free
    header_->rebuilt.store(0, std::memory_order_relaxed);
}

}  // namespace keyrail
