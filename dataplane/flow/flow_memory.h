// SPDX-License-Identifier: Apache-2.0
// Memory of the flow tables that outlives the process: a file for each worker, on tmpfs or hugetlbfs, which a
// restarted keyrail-dp goes on with. A header says what it was made for. Where the number of workers or of
// flows is another one, the flows are spread anew: a flow's hash says where it belongs, and it is in the
// table. What cannot be gone on with begins empty. Only root reads it: the key of the flow hash is in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/flow/kept_file.h"

namespace keyrail {

class FlowMemory {
  public:
    struct Shape {
        uint16_t workers = 1;
        size_t buckets = 0;       // of each worker; a power of two
        uint64_t tsc_per_us = 1;  // Clock::us is TSC / this: `last_seen` in the file goes on
        std::string boot;         // /proc/sys/kernel/random/boot_id: the TSC began again with it
        uint64_t fresh_key = 0;   // of the flow hash, where none is found
    };
    /// Tables of another shape, which the flows were taken from.
    struct Before {
        uint32_t workers = 0;
        size_t buckets = 0;  // of each worker
        size_t flows = 0;    // in sum
    };

    /// Maps `directory`/flows.N, which are made where they are missing; removes those of workers that there
    /// are not any more. Errors: not enough memory there, another process has them, or it is a disk.
    static Result<FlowMemory> open(const std::filesystem::path& directory, const Shape& shape);
    /// The same without files: nothing outlives the process.
    static Result<FlowMemory> anonymous(const Shape& shape);

    [[nodiscard]] std::span<FlowTable::Bucket> buckets(uint16_t worker) const;
    [[nodiscard]] uint64_t hash_key() const { return header(0).hash_key; }
    [[nodiscard]] uint64_t tsc_per_us() const { return header(0).tsc_per_us; }
    /// Why the tables begin empty; "": they go on.
    [[nodiscard]] const std::string& begun_anew() const { return begun_anew_; }
    /// nullopt: nothing was spread anew.
    [[nodiscard]] const std::optional<Before>& before() const { return before_; }

    /// At the beginning of the file; the buckets begin at kBucketsAt.
    struct Header {
        KeptHeader kept;
        uint64_t buckets;
        uint32_t workers, worker;
        uint64_t tsc_per_us, hash_key;
    };
    static constexpr size_t kBucketsAt = 4096;
    static constexpr uint32_t kMostWorkers = 64;

  private:
    struct Left;
    FlowMemory() = default;
    static Result<Left> left_by_another_shape(const std::filesystem::path& directory, const Shape& shape);
    [[nodiscard]] Header& header(size_t worker) const {
        return *reinterpret_cast<Header*>(files_[worker].at());
    }
    [[nodiscard]] std::string misfit(const Shape& shape) const;
    void begin_anew(const Shape& shape);
    void spread(Left& left);
    void write_whole() const;

    std::vector<KeptFile> files_;  // by worker
    size_t buckets_ = 0;
    std::string begun_anew_;
    std::optional<Before> before_;
};

}  // namespace keyrail
