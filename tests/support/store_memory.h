// SPDX-License-Identifier: Apache-2.0
// A store's memory as a hostile process of the servers' group has it: attached, and nothing asked.
#pragma once

#include <sys/shm.h>

#include <fstream>
#include <stdexcept>
#include <string>

#include "control/store/store_layout.h"

namespace keyrail::testing {

class StoreMemory {
  public:
    explicit StoreMemory(const std::string& path) {
        layout::StoreReference reference{};
        std::ifstream(path).read(reinterpret_cast<char*>(&reference), sizeof reference);
        void* const base = shmat(reference.shmid, nullptr, 0);
        if (base == reinterpret_cast<void*>(-1)) throw std::runtime_error("shmat failed");
        base_ = static_cast<uint8_t*>(base);
        size_ = reference.size;
        geometry_ = layout::geometry_of(size_);
    }
    ~StoreMemory() { shmdt(base_); }
    StoreMemory(const StoreMemory&) = delete;
    StoreMemory& operator=(const StoreMemory&) = delete;

    [[nodiscard]] uint8_t* bytes() const { return base_; }
    [[nodiscard]] uint64_t size() const { return size_; }
    [[nodiscard]] const StoreGeometry& geometry() const { return geometry_; }
    [[nodiscard]] layout::StoreHeader& header() const {
        return *reinterpret_cast<layout::StoreHeader*>(base_);
    }
    [[nodiscard]] LockWord& lock(uint32_t shard) const {
        return reinterpret_cast<layout::ShardHeader*>(base_ + layout::kHeaderSize +
                                                      shard * geometry_.shard_bytes)
            ->lock;
    }
    void set_locks(uint32_t value) const {
        for (uint32_t i = 0; i < geometry_.shards; i++) lock(i).store(value);
    }

  private:
    uint8_t* base_;
    uint64_t size_;
    StoreGeometry geometry_;
};

}  // namespace keyrail::testing
