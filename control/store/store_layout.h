// SPDX-License-Identifier: Apache-2.0
// Layout of the store's shared memory. Everything in it may have been written by a process that was killed in
// the middle, or by a hostile server worker, also while it is being read: indexes and lengths are fetched
// once, and checked each time.
//
//   StoreHeader, in whole pages | then per shard: ShardHeader, bucket heads, scratch, journal, chunks
//
// A record is a chain of chunks: a head (with the fields) and parts. It exists from the moment its head's
// state says kHead until it says something else; lists and counters are only caches of that and can be
// rebuilt.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "control/store/store.h"
#include "control/store/store_lock.h"
#include "dataplane/common/ids.h"

namespace keyrail::layout {

inline constexpr uint64_t kMagic = 0x315453'4c52594bULL;  // "KYRLST1"
inline constexpr uint32_t kVersion = 9;
inline constexpr uint32_t kNone = UINT32_MAX;
// Whole cache lines; a session without client certificate (126 to 172 B) fits one chunk.
inline constexpr size_t kChunkSize = 384;
inline constexpr size_t kPartBytes = kChunkSize - 16;
inline constexpr size_t kHeadBytes = kPartBytes - 176;

enum ChunkState : uint32_t { kFree = 0, kHead = 0x44414548, kPart = 0x54524150 };
enum Flags : uint8_t { kSingleUse = 1, kMovedIn = 2, kEarlyDataSpent = 4 };

struct Head {
    uint64_t serial;  // order of insertion
    uint64_t created_ms, authenticated_ms, expires_ms;
    ServiceId service;
    SessionDigest digest;
    SessionName name;
    uint32_t hash_next, older, newer;
    uint32_t uses;
    TlsVersion tls_version;
    uint16_t port, der_size;
    uint8_t flags;
    SiteMark site;
    MoveReceipt receipt;
    std::array<uint8_t, kHeadBytes> der;
};
static_assert(sizeof(Head) == kPartBytes);

struct Chunk {
    std::atomic<uint32_t> state;
    uint32_t next;   // next part of the record, or next free chunk
    uint32_t owner;  // part: index of its head
    uint32_t part;   // part: 1, 2, ...
    union {
        Head head;
        std::array<uint8_t, kPartBytes> bytes;
    };
};
static_assert(sizeof(Chunk) == kChunkSize);
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free);

/// What happened to a session, for the agent: written before the change itself, so that a process that is
/// killed in between says too much, never too little.
struct JournalEntry {
    SessionName name;
    uint32_t gone;        // used up or destroyed on purpose; else: new, or used
    MoveReceipt receipt;  // of one that is gone
};

struct alignas(64) ShardHeader {
    LockWord lock;
    std::atomic<uint32_t> closed;  // to servers: the store has a successor
    uint32_t free_first, free_count;
    uint32_t oldest, newest;
    uint64_t sessions, used_chunks;
    uint64_t serial;
    std::atomic<uint64_t> journaled;  // entries ever written; the latest ones are there
    std::atomic<uint64_t> puts, hits, misses, evicted, expired, rebuilt;
};

/// Of one service: [TLS 1.3][resumed].
struct alignas(64) CostCells {
    struct Cell {
        std::atomic<uint64_t> count, cpu_ns, wall_ns;
    };
    std::array<std::array<Cell, 2>, 2> cells;
};

struct StoreHeader {
    // Every version begins with these, so that a server of any release learns that its store has a successor.
    uint64_t magic;
    uint32_t version, chunk_size;
    uint64_t size;
    StoreToken token;
    std::atomic<uint32_t> retired;   // 0: the agent uses it; 1: it has a successor
    std::atomic<int32_t> successor;  // its shmid
    StoreToken successor_token;
    alignas(64) LockWord stuck;                // see LockHold
    alignas(64) std::atomic<uint32_t> purges;  // goes up with each, before anything is destroyed
    alignas(64) Published<StoreControl> control;
    std::array<CostCells, StoreControl::kMaxServices> costs;
    struct alignas(64) {
        std::atomic<uint64_t> resumed;
    } resumed;
    struct alignas(64) {
        std::atomic<uint64_t> full;
    } full;
};
inline constexpr size_t kHeaderSize = (sizeof(StoreHeader) + 4095) & ~size_t{4095};

inline constexpr uint64_t kMinimumSize = 1 << 20, kMaximumSize = uint64_t{1} << 36;

/// What stands in the store's file: which shared memory it is.
struct StoreReference {
    uint64_t magic;
    int32_t shmid;
    uint32_t reserved;
    uint64_t size;
    StoreToken token;
};
static_assert(sizeof(StoreReference) == 40);
inline constexpr uint64_t kReferenceMagic = 0x314552'4c52594bULL;  // "KYRLRE1"

/// One fetch: what is checked is what is used, whatever others write meanwhile.
template <typename T>
T once(const T& shared) {
    return *const_cast<const volatile T*>(&shared);
}

/// How `size` bytes are divided.
constexpr StoreGeometry geometry_of(uint64_t size) {
    StoreGeometry g;
    const uint64_t wanted = size >> 18;  // shards of about 256 KiB, but no more than 64 of them
    g.shards = static_cast<uint32_t>(std::bit_floor(wanted < 4 ? 4 : wanted > 64 ? 64 : wanted));
    g.shard_bytes = (size - kHeaderSize) / g.shards & ~uint64_t{63};
    const uint64_t room = g.shard_bytes - sizeof(ShardHeader) - 64;
    g.chunks =
        static_cast<uint32_t>(room / (kChunkSize + 2 * sizeof(uint32_t) + sizeof(JournalEntry) / 8 + 1));
    g.buckets = std::bit_floor(g.chunks);
    g.journal = g.buckets / 8;
    g.journal_offset = sizeof(ShardHeader) + (g.buckets + g.chunks) * sizeof(uint32_t);
    g.chunk_offset = (g.journal_offset + g.journal * sizeof(JournalEntry) + 63) & ~uint64_t{63};
    return g;
}
static_assert(geometry_of(kMinimumSize).chunks * geometry_of(kMinimumSize).shards > 1000);
static_assert(geometry_of(64 << 20).chunk_offset + geometry_of(64 << 20).chunks * kChunkSize <=
              geometry_of(64 << 20).shard_bytes);

}  // namespace keyrail::layout
