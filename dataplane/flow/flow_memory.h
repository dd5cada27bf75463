// SPDX-License-Identifier: Apache-2.0
// Memory of the flow tables that outlives the process: a file for each worker, on tmpfs or hugetlbfs, which a
// restarted keyrail-dp goes on with. A header says what it was made for; a file that does not fit begins
// anew. Only root reads it: the key of the flow hash is in it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/flow/flow_table.h"

namespace keyrail {

class FlowMemory {
  public:
    /// What must be the same before and after.
    struct Shape {
        uint16_t workers = 1;
        size_t buckets = 0;       // of each worker; a power of two
        uint64_t tsc_per_us = 1;  // Clock::us is TSC / this: `last_seen` in the file goes on
        std::string boot;         // /proc/sys/kernel/random/boot_id: the TSC began again with it
        uint64_t fresh_key = 0;   // of the flow hash, where none is found
    };

    /// Maps `directory`/flows.N, which are made where they are missing. Errors: not enough memory there,
    /// another process has them, or it is a disk.
    static Result<FlowMemory> open(const std::filesystem::path& directory, const Shape& shape);
    /// The same without files: nothing outlives the process.
    static Result<FlowMemory> anonymous(const Shape& shape);
    /// False: a disk, where nothing of this belongs.
    static bool in_memory(const std::filesystem::path& directory);

    FlowMemory(FlowMemory&&) noexcept;
    FlowMemory& operator=(FlowMemory&&) noexcept;
    ~FlowMemory();  // the files stay

    [[nodiscard]] std::span<FlowTable::Bucket> buckets(uint16_t worker) const;
    [[nodiscard]] uint64_t hash_key() const;
    [[nodiscard]] uint64_t tsc_per_us() const;
    /// Why the tables begin empty; "": they go on.
    [[nodiscard]] const std::string& begun_anew() const { return begun_anew_; }

    /// 128 bytes at the beginning of the file; the buckets begin at kBucketsAt.
    struct Header {
        uint64_t magic, layout;
        uint64_t buckets;
        uint32_t workers, worker;
        uint64_t tsc_per_us, hash_key;
        std::array<char, 64> boot;
        uint64_t whole;  // 1: what is above has been written
    };
    static constexpr size_t kBucketsAt = 4096;

  private:
    struct Mapping {
        void* at = nullptr;
        size_t size = 0;
        int fd = -1;
    };
    FlowMemory() = default;
    Result<void> map(const std::filesystem::path& file, size_t size);
    [[nodiscard]] Header& header(size_t worker) const { return *static_cast<Header*>(mappings_[worker].at); }
    [[nodiscard]] std::string misfit(const Shape& shape) const;
    void begin_anew(const Shape& shape);
    void unmap();

    std::vector<Mapping> mappings_;  // by worker
    size_t buckets_ = 0;
    std::string begun_anew_;
};

}  // namespace keyrail
