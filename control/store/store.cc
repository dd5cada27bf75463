// SPDX-License-Identifier: Apache-2.0
// Operations of the store. store_file.cc makes and attaches it, store_shard.cc keeps the lists.
#include "control/store/store.h"

#include <strings.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

#include "control/store/store_shard.h"

namespace keyrail {

using layout::kNone;

uint64_t wall_clock_ms() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

void SessionRecord::wipe() {
    explicit_bzero(der.data(), der_size);
    der_size = 0;
}

namespace {
layout::StoreHeader& header_of(uint8_t* base) { return *reinterpret_cast<layout::StoreHeader*>(base); }
}  // namespace

/// A shard, locked, if it can be had. When the process that held the lock died, the shard is rebuilt first.
class ShardGuard {
  public:
    enum class For { kUse, kEmptying };

    ShardGuard(const Store& store, uint32_t index, For what = For::kUse)
        : shard_(store.base_ + layout::kHeaderSize + index * store.geometry_.shard_bytes, store.geometry_),
          buckets_(store.geometry_.buckets),
          hold_(shard_.header().lock, header_of(store.base_).stuck) {
        if (hold_.outcome() == LockHold::Outcome::kOwnerDied) shard_.rebuild();
        open_ = what == For::kEmptying || shard_.header().closed.load(std::memory_order_relaxed) == 0;
    }

    explicit operator bool() const { return open_ && hold_.outcome() != LockHold::Outcome::kNot; }
    Shard* operator->() { return &shard_; }
    [[nodiscard]] uint32_t bucket(uint64_t hash) const {
        return static_cast<uint32_t>(hash >> 16) & (buckets_ - 1);
    }
    void count(bool hit) {
        (hit ? shard_.header().hits : shard_.header().misses).fetch_add(1, std::memory_order_relaxed);
    }

  private:
    Shard shard_;
    uint32_t buckets_;
    LockHold hold_;
    bool open_;
};

Store::Put Store::put(const SessionRecord& record, std::optional<uint32_t> since) {
    if (record.der_size == 0 || record.der_size > kMaxSessionDer) return Put::kRefused;
    const uint64_t hash = name_hash(record.name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return Put::kUnavailable;
    // Under the lock: a purge counts itself before it looks at the shard.
    if (since && *since != purges()) return Put::kPurged;
    const uint32_t bucket = shard.bucket(hash);
    if (const uint32_t old = shard->find(record.name, bucket); old != kNone) shard->remove(old);
    shard->note(record.name);
    shard->insert(record, bucket);
    return Put::kStored;
}

bool Store::take(const SessionName& name, SessionRecord& out) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    if (index == kNone || !shard->read(index, out)) return false;
    shard->remove(index);
    return true;
}

bool Store::copy(const SessionName& name, SessionRecord& out) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    return index != kNone && shard->read(index, out);
}

bool Store::resume(const SessionName& name, const Resumer& who, uint64_t now_ms, SessionRecord& out) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    SessionInfo info;
    if (index != kNone) shard->info(index, info);
    if (index == kNone || info.tls_version != who.tls_version || !who.may_have(info.site)) {
        shard.count(false);
        return false;
    }
    const bool worn = who.tls_version == TlsVersion::tls13 && info.uses >= kMaxUses;
    if (info.expires_ms <= now_ms || worn) {
        shard->remove(index);
        shard->header().expired.fetch_add(1, std::memory_order_relaxed);
        shard.count(false);
        return false;
    }
    const bool found = shard->read(index, out);
    if (found && info.single_use) {
        shard->note_end(index);
        shard->remove(index);
    }
    shard.count(found);
    return found;
}

std::optional<SessionInfo> Store::peek(const SessionName& name) const {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return std::nullopt;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    if (index == kNone) return std::nullopt;
    SessionInfo info;
    shard->info(index, info);
    return info;
}

std::optional<bool> Store::is_here(const SessionName& name) const {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return std::nullopt;
    return shard->find(name, shard.bucket(hash)) != kNone;
}

bool Store::erase(const SessionName& name) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    if (index == kNone) return false;
    shard->note_end(index);
    shard->remove(index);
    return true;
}

uint32_t Store::purges() const { return header_of(base_).purges.load(); }

Store::Purge Store::purge(const SessionName& name) {
    header_of(base_).purges.fetch_add(1);
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return {0, 1};
    const uint32_t index = shard->find(name, shard.bucket(hash));
    if (index == kNone) return {};
    shard->note_end(index);
    shard->remove(index);
    return {1, 0};
}

Store::Purge Store::purge(const std::function<bool(const SessionInfo&)>& meant) {
    constexpr uint32_t kStride = 512;  // chunks looked at under one lock
    header_of(base_).purges.fetch_add(1);
    Purge done;
    for (uint32_t i = 0; i < geometry_.shards; i++)
        for (uint32_t chunk = 0; chunk < geometry_.chunks;) {
            ShardGuard shard(*this, i);
            if (!shard) {
                done.held++;
                break;
            }
            for (const uint32_t end = std::min(chunk + kStride, geometry_.chunks); chunk < end; chunk++) {
                if (!shard->is_head(chunk)) continue;
                SessionInfo info;
                shard->info(chunk, info);
                if (!meant(info)) continue;
                shard->note_end(chunk);
                shard->remove(chunk);
                done.purged++;
            }
        }
    return done;
}

bool Store::spend_early_data(const SessionName& name) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    return index != kNone && shard->spend_early_data(index);
}

bool Store::advance(const SessionName& name, uint32_t uses_before, const SessionDigest& digest) {
    const uint64_t hash = name_hash(name);
    ShardGuard shard(*this, static_cast<uint32_t>(hash) & (geometry_.shards - 1));
    if (!shard) return false;
    const uint32_t index = shard->find(name, shard.bucket(hash));
    if (index == kNone) return false;
    shard->note(name);
    return shard->advance(index, uses_before, digest);
}

uint64_t Store::changes(JournalCursor& cursor, std::vector<Change>& out, uint32_t* held) const {
    cursor.resize(geometry_.shards);
    uint64_t lost = 0;
    uint32_t skipped = 0;
    for (uint32_t i = 0; i < geometry_.shards; i++) {
        Shard quiet(base_ + layout::kHeaderSize + i * geometry_.shard_bytes, geometry_);
        if (quiet.header().journaled.load(std::memory_order_acquire) == cursor[i]) continue;
        ShardGuard shard(*this, i);
        if (!shard) {
            skipped++;
            continue;
        }
        const uint64_t end = shard->header().journaled.load(std::memory_order_relaxed);
        uint64_t& next = cursor[i];
        const uint64_t known = end > geometry_.journal ? end - geometry_.journal : 0;
        if (next < known || next > end) {
            if (next != 0 && next < known) lost += known - next;
            next = known;
        }
        for (; next < end; next++) {
            const layout::JournalEntry& noted = shard->noted(next);
            out.push_back({noted.name, noted.gone != 0, noted.receipt});
        }
    }
    if (held != nullptr) *held = skipped;
    return lost;
}

std::vector<SessionInfo> Store::list(Cursor& cursor, Which which, size_t most) const {
    constexpr uint32_t kStride = 512;  // chunks looked at under one lock
    std::vector<SessionInfo> batch;
    // It comes from keyraild, which may have it from a store before this one.
    cursor.finished = cursor.finished || cursor.shard >= geometry_.shards;
    cursor.chunk = std::min(cursor.chunk, geometry_.chunks);
    while (!cursor.finished && batch.size() < most) {
        ShardGuard shard(*this, cursor.shard);
        const uint32_t end = std::min(cursor.chunk + kStride, geometry_.chunks);
        for (; shard && cursor.chunk < end; cursor.chunk++) {
            if (!shard->is_head(cursor.chunk)) continue;
            SessionInfo info;
            shard->info(cursor.chunk, info);
            if (which == Which::kAll || info.moved_in) batch.push_back(info);
        }
        if (shard && cursor.chunk < geometry_.chunks) continue;
        cursor.chunk = 0;
        cursor.finished = ++cursor.shard == geometry_.shards;
    }
    return batch;
}

std::vector<SessionInfo> Store::list_lately(Cursor& cursor, size_t most) const {
    constexpr uint64_t kStride = 512;  // entries looked at under one lock, and all that there are of a shard
    std::vector<SessionInfo> batch;
    for (cursor.finished |= cursor.shard >= geometry_.shards; !cursor.finished && batch.size() < most;
         cursor.finished = ++cursor.shard == geometry_.shards) {
        ShardGuard shard(*this, cursor.shard);
        if (!shard) continue;
        std::set<SessionName> seen;
        const uint64_t end = shard->header().journaled.load(std::memory_order_relaxed);
        const uint64_t first = end - std::min({end, uint64_t{geometry_.journal}, kStride});
        for (uint64_t number = end; number-- > first;) {
            const SessionName name = shard->noted(number).name;
            const uint32_t index = shard->find(name, shard.bucket(name_hash(name)));
            if (index == layout::kNone || !seen.insert(name).second) continue;
            SessionInfo info;
            shard->info(index, info);
            batch.push_back(info);
        }
    }
    return batch;
}

void Store::sweep(uint64_t now_ms) {
    auto& header = header_of(base_);
    header.retired.store(0, std::memory_order_relaxed);  // no matter what was written there
    header.token = token_;
    shard_header(sweep_next_).closed.store(0, std::memory_order_relaxed);
    ShardGuard shard(*this, sweep_next_);
    sweep_next_ = (sweep_next_ + 1) & (geometry_.shards - 1);
    if (!shard) return;
    for (uint32_t i = 0; i < shard->chunk_count(); i++) {
        if (!shard->is_head(i)) continue;
        SessionInfo info;
        shard->info(i, info);
        if (info.expires_ms > now_ms) continue;
        shard->remove(i);
        shard->header().expired.fetch_add(1, std::memory_order_relaxed);
    }
}

uint32_t Store::shards_held() const {
    uint32_t held = 0;
    for (uint32_t i = 0; i < geometry_.shards; i++) held += ShardGuard(*this, i) ? 0 : 1;
    return held;
}

layout::ShardHeader& Store::shard_header(uint32_t index) const {
    return Shard(base_ + layout::kHeaderSize + index * geometry_.shard_bytes, geometry_).header();
}

bool Store::retired() const { return header_of(base_).retired.load(std::memory_order_acquire) != 0; }

/// Who waits for a shard, or comes later, finds it closed: nobody uses a session here that is there, too. The
/// oldest goes first of all that share a shard there, for that is the order in which they make room.
void Store::hand_over(Store& to, Replaced& news) {
    header_of(to.base_).purges.store(purges());
    const uint32_t groups = std::min(geometry_.shards, to.geometry_.shards);
    for (uint32_t group = 0; group < groups; group++) {
        std::deque<ShardGuard> shards;
        for (uint32_t i = group; i < geometry_.shards; i += groups) {
            shard_header(i).closed.store(1);
            if (shards.emplace_back(*this, i, ShardGuard::For::kEmptying)) continue;
            news.shards_held++;
            shards.pop_back();
        }
        SessionRecord record;
        for (uint64_t left = uint64_t{geometry_.chunks} * shards.size(); left > 0; left--) {
            const auto oldest = std::ranges::min_element(
                shards, {}, [](ShardGuard& shard) { return shard->oldest_ms().value_or(UINT64_MAX); });
            if (oldest == shards.end() || !(*oldest)->take_oldest(record)) break;
            if (to.put(record) == Put::kStored) news.carried++;
            record.wipe();
        }
        for (ShardGuard& shard : shards) shard->wipe();
    }
    const uint64_t evicted = to.stats().evicted;
    news.lost = std::min(evicted, news.carried);
    news.carried -= news.lost;
    StoreControl control;
    if (header_of(base_).control.read([&](const StoreControl& last) { control = last; }))
        to.set_control(control);
    explicit_bzero(&control, sizeof control);
}

void Store::count_handshake(bool resumed) {
    auto& header = header_of(base_);
    (resumed ? header.resumed.resumed : header.full.full).fetch_add(1, std::memory_order_relaxed);
}

StoreStats Store::stats() const {
    StoreStats sum;
    for (uint32_t i = 0; i < geometry_.shards; i++) {
        // Read without the lock: each is one aligned word, and a figure that is a moment old is as good.
        const Shard shard(base_ + layout::kHeaderSize + i * geometry_.shard_bytes, geometry_);
        auto& header = const_cast<Shard&>(shard).header();
        sum.sessions += std::atomic_ref(header.sessions).load(std::memory_order_relaxed);
        sum.bytes += std::atomic_ref(header.used_chunks).load(std::memory_order_relaxed) * layout::kChunkSize;
        sum.puts += header.puts.load(std::memory_order_relaxed);
        sum.hits += header.hits.load(std::memory_order_relaxed);
        sum.misses += header.misses.load(std::memory_order_relaxed);
        sum.evicted += header.evicted.load(std::memory_order_relaxed);
        sum.expired += header.expired.load(std::memory_order_relaxed);
        sum.rebuilt += header.rebuilt.load(std::memory_order_relaxed);
    }
    sum.capacity_bytes = uint64_t{geometry_.shards} * geometry_.chunks * layout::kChunkSize;
    const auto& header = header_of(base_);
    sum.resumed = header.resumed.resumed.load(std::memory_order_relaxed);
    sum.full = header.full.full.load(std::memory_order_relaxed);
    return sum;
}

uint64_t Store::handshakes() const {
    const auto& header = header_of(base_);
    return header.resumed.resumed.load(std::memory_order_relaxed) +
           header.full.full.load(std::memory_order_relaxed);
}

void Store::add_cost(uint16_t slot, bool tls13, bool resumed, uint64_t cpu_ns, uint64_t wall_ns) {
    if (slot >= StoreControl::kMaxServices) return;
    auto& cell = header_of(base_).costs[slot].cells[tls13 ? 1 : 0][resumed ? 1 : 0];
    cell.count.fetch_add(1, std::memory_order_relaxed);
    cell.cpu_ns.fetch_add(cpu_ns, std::memory_order_relaxed);
    cell.wall_ns.fetch_add(wall_ns, std::memory_order_relaxed);
}

std::vector<HandshakeCost> Store::costs() const {
    std::vector<HandshakeCost> all;
    const auto& header = header_of(base_);
    header.control.read([&](const StoreControl& control) {
        all.clear();
        for (uint16_t slot = 0; slot < std::min(control.service_count, StoreControl::kMaxServices); slot++) {
            for (const bool tls13 : {false, true}) {
                for (const bool resumed : {false, true}) {
                    const auto& cell = header.costs[slot].cells[tls13 ? 1 : 0][resumed ? 1 : 0];
                    if (const uint64_t count = cell.count.load(std::memory_order_relaxed); count != 0)
                        all.push_back({control.services[slot].service, tls13, resumed, count,
                                       cell.cpu_ns.load(std::memory_order_relaxed),
                                       cell.wall_ns.load(std::memory_order_relaxed)});
                }
            }
        }
    });
    return all;
}

void Store::set_control(const StoreControl& control) {
    auto& header = header_of(base_);
    header.control.read([&](const StoreControl& before) {
        for (uint16_t slot = 0; slot < StoreControl::kMaxServices; slot++) {
            if (before.services[slot].service == control.services[slot].service) continue;
            for (auto& version : header.costs[slot].cells) {
                for (auto& cell : version) {
                    cell.count.store(0, std::memory_order_relaxed);
                    cell.cpu_ns.store(0, std::memory_order_relaxed);
                    cell.wall_ns.store(0, std::memory_order_relaxed);
                }
            }
        }
    });
    header.control.publish(control);
}

const Published<StoreControl>& Store::control() const { return header_of(base_).control; }

}  // namespace keyrail
