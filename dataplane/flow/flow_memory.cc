// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_memory.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

#include "dataplane/flow/flow_hash.h"

namespace keyrail {
namespace {

constexpr uint64_t kMagic = 0x776f6c66'6b79656b;  // "keykflow"
/// To be raised when a bucket's bytes mean something else than before, or the hash is another one.
constexpr uint64_t kLayoutVersion = 2;
constexpr uint64_t kLayout = kLayoutVersion << 32 | sizeof(FlowTable::Bucket);

using Header = FlowMemory::Header;

std::filesystem::path file_of(const std::filesystem::path& directory, uint32_t worker) {
    return directory / ("flows." + std::to_string(worker));
}

size_t size_of(size_t buckets) { return FlowMemory::kBucketsAt + buckets * sizeof(FlowTable::Bucket); }

/// Why nothing of this file can be gone on with, whatever its shape; "": it can. Nothing in it is believed
/// before.
std::string misfit_of(const KeptFile& file, uint32_t worker, const FlowMemory::Shape& shape) {
    constexpr uint64_t kPercent = 100;
    if (file.size() < FlowMemory::kBucketsAt) return "there were none";
    const Header& h = *reinterpret_cast<const Header*>(file.at());
    if (std::string why = h.kept.misfit(kMagic, kLayout, shape.boot); !why.empty()) return why;
    const bool sound = std::has_single_bit(h.buckets) && h.workers >= 1 &&
                       h.workers <= FlowMemory::kMostWorkers && h.worker == worker &&
                       h.buckets <= (file.size() - FlowMemory::kBucketsAt) / sizeof(FlowTable::Bucket);
    if (!sound) return "their headers are damaged";
    const uint64_t difference =
        h.tsc_per_us > shape.tsc_per_us ? h.tsc_per_us - shape.tsc_per_us : shape.tsc_per_us - h.tsc_per_us;
    if (difference > shape.tsc_per_us / kPercent) return "the clock runs differently";
    return "";
}

bool of_one_run(const Header& a, const Header& b) {
    return a.hash_key == b.hash_key && a.tsc_per_us == b.tsc_per_us && a.workers == b.workers &&
           a.buckets == b.buckets;
}

}  // namespace

/// What is worth taking over of tables whose shape is another one.
struct FlowMemory::Left {
    struct Entry {
        uint64_t hash;
        Flow flow;
    };
    Header first{};  // of the first worker's file
    std::vector<Entry> entries;
    std::string misfit;  // why there is nothing

    void take(std::span<const FlowTable::Bucket> buckets) {
        for (const FlowTable::Bucket& bucket : buckets)
            for (size_t i = 0; i < FlowTable::Bucket::kPlaces; i++)
                if (bucket.hashes[i] != 0 && bucket.flows[i].blade_number != 0)
                    entries.push_back({bucket.hashes[i], bucket.flows[i]});
    }
};

/// No entries and no reason: the shape is the same one.
Result<FlowMemory::Left> FlowMemory::left_by_another_shape(const std::filesystem::path& directory,
                                                           const Shape& shape) {
    Left left;
    for (uint32_t worker = 0; worker < std::max(1u, left.first.workers); worker++) {
        auto file = KeptFile::existing(file_of(directory, worker));
        if (!file) return tl::make_unexpected(file.error());
        left.misfit = misfit_of(*file, worker, shape);
        if (!left.misfit.empty()) break;
        const Header& h = *reinterpret_cast<const Header*>(file->at());
        if (worker == 0) {
            if (h.workers == shape.workers && h.buckets == shape.buckets) return left;
            left.first = h;
        }
        if (!of_one_run(h, left.first)) {
            left.misfit = "the workers' files are not of one run";
            break;
        }
        left.take({reinterpret_cast<const FlowTable::Bucket*>(file->at() + kBucketsAt), h.buckets});
    }
    return left;
}

Result<FlowMemory> FlowMemory::open(const std::filesystem::path& directory, const Shape& shape) {
    if (!KeptFile::in_memory(directory))
        return fail("{} is on a disk, or not there; name a tmpfs or hugetlbfs", directory.string());
    auto left = left_by_another_shape(directory, shape);
    if (!left) return tl::make_unexpected(left.error());
    FlowMemory memory;
    memory.buckets_ = shape.buckets;
    for (uint16_t worker = 0; worker < shape.workers; worker++) {
        auto file = KeptFile::open(file_of(directory, worker), size_of(shape.buckets));
        if (!file) return tl::make_unexpected(file.error());
        memory.files_.push_back(std::move(*file));
    }
    std::error_code none;
    for (uint32_t worker = shape.workers; std::filesystem::remove(file_of(directory, worker), none);
         worker++) {
    }
    if (left->first.workers != 0 && left->misfit.empty()) {
        memory.begin_anew(shape);
        memory.spread(*left);
    } else {
        memory.begun_anew_ = left->misfit.empty() ? memory.misfit(shape) : left->misfit;
        if (!memory.begun_anew_.empty()) memory.begin_anew(shape);
    }
    memory.write_whole();
    return memory;
}

Result<FlowMemory> FlowMemory::anonymous(const Shape& shape) {
    FlowMemory memory;
    memory.buckets_ = shape.buckets;
    memory.begun_anew_ = "nothing is kept";
    for (uint16_t worker = 0; worker < shape.workers; worker++) {
        auto file = KeptFile::anonymous(size_of(shape.buckets));
        if (!file) return fail("{} of flows; lower memory.flows", file.error().message);
        memory.files_.push_back(std::move(*file));
    }
    memory.begin_anew(shape);
    return memory;
}

/// Why the files cannot be gone on with; "": they can.
std::string FlowMemory::misfit(const Shape& shape) const {
    for (uint32_t worker = 0; worker < files_.size(); worker++) {
        if (std::string why = misfit_of(files_[worker], worker, shape); !why.empty()) return why;
        const Header& h = header(worker);
        if (h.buckets != shape.buckets || h.workers != shape.workers || !of_one_run(h, header(0)))
            return "the workers' files are not of one run";
    }
    return "";
}

/// Empty, and not whole yet.
void FlowMemory::begin_anew(const Shape& shape) {
    for (size_t worker = 0; worker < files_.size(); worker++) {
        Header& h = header(worker);
        h.kept.whole = 0;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        const std::span<FlowTable::Bucket> all = buckets(static_cast<uint16_t>(worker));
        if (files_[worker].outlives()) std::memset(static_cast<void*>(all.data()), 0, all.size_bytes());
        h.kept.fill(kMagic, kLayout, shape.boot);
        h.buckets = shape.buckets;
        h.workers = shape.workers;
        h.worker = static_cast<uint32_t>(worker);
        h.tsc_per_us = shape.tsc_per_us;
        h.hash_key = shape.fresh_key;
    }
}

/// The latest ones last: where there is less room than before, those that were idle longest make it.
void FlowMemory::spread(Left& left) {
    std::ranges::sort(left.entries, {}, [](const Left::Entry& entry) { return entry.flow.last_seen; });
    std::vector<FlowTable> tables;
    for (uint16_t worker = 0; worker < files_.size(); worker++) {
        header(worker).hash_key = left.first.hash_key;
        header(worker).tsc_per_us = left.first.tsc_per_us;
        tables.emplace_back(buckets(worker));
    }
    for (const Left::Entry& entry : left.entries)
        tables[owner_of(entry.hash, static_cast<uint16_t>(tables.size()))].insert(entry.hash, entry.flow);
    before_ = {.workers = left.first.workers, .buckets = left.first.buckets, .flows = left.entries.size()};
}

/// From now on another process can go on with them.
void FlowMemory::write_whole() const {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    for (size_t worker = 0; worker < files_.size(); worker++) header(worker).kept.whole = 1;
}

std::span<FlowTable::Bucket> FlowMemory::buckets(uint16_t worker) const {
    return {reinterpret_cast<FlowTable::Bucket*>(files_[worker].at() + kBucketsAt), buckets_};
}

}  // namespace keyrail
