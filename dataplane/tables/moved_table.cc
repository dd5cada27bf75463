// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/moved_table.h"

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_rcu_qsbr.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {
namespace {

uint64_t fingerprint(const SessionName& name) { return XXH3_64bits(name.data(), name.size()); }

/// Holder and expiry ride in the table's data pointer, so that a reader gets both in one load.
void* pack(BladeId holder, uint32_t expires_s) {
    return reinterpret_cast<void*>(uint64_t{expires_s} << 16 | holder);
}
BladeId holder_of(void* data) { return BladeId(static_cast<uint16_t>(reinterpret_cast<uint64_t>(data))); }
uint32_t expiry_of(void* data) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(data) >> 16); }

constexpr uint32_t kSweepStep = 8192;  // entries looked at per sweep(): the control thread must not stall

}  // namespace

struct MovedTable::Impl {
    rte_hash* table = nullptr;
    uint32_t sweep_at = 0;
    ~Impl() { rte_hash_free(table); }
};

MovedTable::MovedTable() : impl_(std::make_unique<Impl>()) {}
MovedTable::~MovedTable() = default;

Result<std::unique_ptr<MovedTable>> MovedTable::create(uint32_t capacity, rte_rcu_qsbr* rcu) {
    std::unique_ptr<MovedTable> made(new MovedTable);
    rte_hash_parameters parameters{};
    parameters.name = "keyrail_moved";
    parameters.entries = capacity;
    parameters.key_len = sizeof(uint64_t);
    parameters.hash_func = rte_hash_crc;
    parameters.socket_id = SOCKET_ID_ANY;
    parameters.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
    made->impl_->table = rte_hash_create(&parameters);
    if (made->impl_->table == nullptr)
        return fail("moved table of {} entries: {}; give keyrail-dp more memory", capacity,
                    rte_strerror(rte_errno));
    rte_hash_rcu_config reclaim{};
    reclaim.v = rcu;
    reclaim.mode = RTE_HASH_QSBR_MODE_DQ;
    if (rcu != nullptr && rte_hash_rcu_qsbr_add(made->impl_->table, &reclaim) != 0)
        return fail("moved table: {}", rte_strerror(rte_errno));
    return made;
}

void MovedTable::find(std::span<const SessionName* const> names, uint32_t now_s,
                      std::span<BladeId> holders) const {
    std::array<uint64_t, RTE_HASH_LOOKUP_BULK_MAX> fingerprints;
    std::array<const void*, RTE_HASH_LOOKUP_BULK_MAX> keys;
    std::array<void*, RTE_HASH_LOOKUP_BULK_MAX> data;
    for (size_t i = 0; i < names.size(); i++) {
        fingerprints[i] = fingerprint(*names[i]);
        keys[i] = &fingerprints[i];
    }
    uint64_t hits = 0;
    rte_hash_lookup_bulk_data(impl_->table, keys.data(), static_cast<uint32_t>(names.size()), &hits,
                              data.data());
    for (size_t i = 0; i < names.size(); i++) {
        const bool moved = (hits >> i & 1) != 0 && expiry_of(data[i]) > now_s;
        holders[i] = moved ? holder_of(data[i]) : BladeId{};
    }
}

std::optional<BladeId> MovedTable::find(const SessionName& name, uint32_t now_s) const {
    const SessionName* const one = &name;
    BladeId holder = 0;
    find({&one, 1}, now_s, {&holder, 1});
    return holder != 0 ? std::optional(holder) : std::nullopt;
}

bool MovedTable::set(const SessionName& name, BladeId holder, uint32_t expires_s, uint32_t now_s) {
    const uint64_t key = fingerprint(name);
    if (rte_hash_add_key_data(impl_->table, &key, pack(holder, expires_s)) == 0) return true;
    impl_->sweep_at = 0;
    do sweep(now_s);
    while (impl_->sweep_at != 0);
    return rte_hash_add_key_data(impl_->table, &key, pack(holder, expires_s)) == 0;
}

void MovedTable::erase(const SessionName& name) {
    const uint64_t key = fingerprint(name);
    rte_hash_del_key(impl_->table, &key);
}

void MovedTable::clear() {  // one by one: rte_hash_reset would pull the table from under the readers
    const void* key = nullptr;
    void* data = nullptr;
    for (uint32_t at = 0; rte_hash_iterate(impl_->table, &key, &data, &at) >= 0;) {
        const uint64_t copy = *static_cast<const uint64_t*>(key);
        rte_hash_del_key(impl_->table, &copy);
    }
}

void MovedTable::sweep(uint32_t now_s) {
    const void* key = nullptr;
    void* data = nullptr;
    for (uint32_t step = 0; step < kSweepStep; step++) {
        if (rte_hash_iterate(impl_->table, &key, &data, &impl_->sweep_at) < 0) {
            impl_->sweep_at = 0;
            return;
        }
        if (expiry_of(data) <= now_s) {
            const uint64_t copy = *static_cast<const uint64_t*>(key);
            rte_hash_del_key(impl_->table, &copy);
        }
    }
}

uint32_t MovedTable::size() const { return static_cast<uint32_t>(rte_hash_count(impl_->table)); }

}  // namespace keyrail
