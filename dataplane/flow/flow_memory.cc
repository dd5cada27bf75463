// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace keyrail {
namespace {

constexpr uint64_t kMagic = 0x776f6c66'6b79656b;  // "keykflow"
/// To be raised when a bucket's bytes mean something else than before, or the hash is another one.
constexpr uint64_t kLayoutVersion = 1;
constexpr uint64_t kLayout = kLayoutVersion << 32 | sizeof(FlowTable::Bucket);

size_t rounded(size_t size, size_t to) { return (size + to - 1) / to * to; }

}  // namespace

bool FlowMemory::in_memory(const std::filesystem::path& directory) {
    struct statfs about{};
    if (statfs(directory.c_str(), &about) != 0) return false;
    const auto type = static_cast<uint64_t>(about.f_type);
    return type == TMPFS_MAGIC || type == HUGETLBFS_MAGIC || type == RAMFS_MAGIC;
}

Result<void> FlowMemory::map(const std::filesystem::path& file, size_t size) {
    Mapping mapping;
    mapping.fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (mapping.fd < 0) return fail("{} cannot be opened: {}", file.string(), strerror(errno));
    mappings_.push_back(mapping);
    Mapping& kept = mappings_.back();
    if (flock(kept.fd, LOCK_EX | LOCK_NB) != 0)
        return fail("{} is another process's; give each keyrail-dp its own memory.flow_directory",
                    file.string());
    struct statfs about{};
    struct stat now{};
    if (fstatfs(kept.fd, &about) != 0 || fstat(kept.fd, &now) != 0 || fchmod(kept.fd, S_IRUSR | S_IWUSR) != 0)
        return fail("{}: {}", file.string(), strerror(errno));
    kept.size = rounded(size, static_cast<size_t>(about.f_bsize));
    // Another size is another shape: what is in it is of no use.
    if (static_cast<size_t>(now.st_size) != kept.size && ftruncate(kept.fd, 0) != 0)
        return fail("{}: {}", file.string(), strerror(errno));
    const int error = posix_fallocate(kept.fd, 0, static_cast<off_t>(kept.size));
    if (error != 0)
        return fail("{}: no room for {} MiB ({}); lower memory.flows, or name a larger memory.flow_directory",
                    file.string(), kept.size >> 20, strerror(error));
    void* at = mmap(nullptr, kept.size, PROT_READ | PROT_WRITE, MAP_SHARED, kept.fd, 0);
    if (at == MAP_FAILED) return fail("{} cannot be mapped: {}", file.string(), strerror(errno));
    kept.at = at;
    madvise(at, kept.size, MADV_HUGEPAGE);
    madvise(at, kept.size, MADV_DONTDUMP);
    return {};
}

Result<FlowMemory> FlowMemory::open(const std::filesystem::path& directory, const Shape& shape) {
    if (!in_memory(directory))
        return fail("{} is on a disk, or not there; name a tmpfs or hugetlbfs", directory.string());
    FlowMemory memory;
    memory.buckets_ = shape.buckets;
    for (uint16_t worker = 0; worker < shape.workers; worker++) {
        const auto file = directory / ("flows." + std::to_string(worker));
        if (auto good = memory.map(file, kBucketsAt + shape.buckets * sizeof(FlowTable::Bucket)); !good)
            return tl::make_unexpected(good.error());
    }
    memory.begun_anew_ = memory.misfit(shape);
    if (!memory.begun_anew_.empty()) memory.begin_anew(shape);
    return memory;
}

Result<FlowMemory> FlowMemory::anonymous(const Shape& shape) {
    FlowMemory memory;
    memory.buckets_ = shape.buckets;
    memory.begun_anew_ = "nothing is kept";
    for (uint16_t worker = 0; worker < shape.workers; worker++) {
        Mapping mapping;
        mapping.size = rounded(kBucketsAt + shape.buckets * sizeof(FlowTable::Bucket), 2u << 20);
        mapping.at = mmap(nullptr, mapping.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping.at == MAP_FAILED)
            return fail("no memory for {} MiB of flows; lower memory.flows", mapping.size >> 20);
        madvise(mapping.at, mapping.size, MADV_HUGEPAGE);
        memory.mappings_.push_back(mapping);
    }
    memory.begin_anew(shape);
    return memory;
}

/// Why the files cannot be gone on with; "": they can.
std::string FlowMemory::misfit(const Shape& shape) const {
    constexpr uint64_t kPercent = 100;
    for (size_t worker = 0; worker < mappings_.size(); worker++) {
        const Header& h = header(worker);
        if (h.whole != 1 || h.magic != kMagic) return "there were none";
        if (h.layout != kLayout) return "they were another version's";
        if (h.buckets != shape.buckets) return "memory.flows is another one";
        if (h.workers != shape.workers || h.worker != worker) return "worker.count is another one";
        if (strncmp(h.boot.data(), shape.boot.c_str(), h.boot.size()) != 0)
            return "the machine was started meanwhile";
        const uint64_t difference = h.tsc_per_us > shape.tsc_per_us ? h.tsc_per_us - shape.tsc_per_us
                                                                    : shape.tsc_per_us - h.tsc_per_us;
        if (difference > shape.tsc_per_us / kPercent) return "the clock runs differently";
        if (h.hash_key != header(0).hash_key || h.tsc_per_us != header(0).tsc_per_us)
            return "the workers' files are not of one run";
    }
    return {};
}

/// The header is whole only when all else is.
void FlowMemory::begin_anew(const Shape& shape) {
    for (size_t worker = 0; worker < mappings_.size(); worker++) {
        Header& h = header(worker);
        h.whole = 0;
        const std::span<FlowTable::Bucket> all = buckets(static_cast<uint16_t>(worker));
        if (mappings_[worker].fd >= 0) std::memset(static_cast<void*>(all.data()), 0, all.size_bytes());
        h = {.magic = kMagic,
             .layout = kLayout,
             .buckets = shape.buckets,
             .workers = shape.workers,
             .worker = static_cast<uint32_t>(worker),
             .tsc_per_us = shape.tsc_per_us,
             .hash_key = shape.fresh_key,
             .boot = {},
             .whole = 0};
        shape.boot.copy(h.boot.data(), h.boot.size() - 1);
        h.whole = 1;
    }
}

std::span<FlowTable::Bucket> FlowMemory::buckets(uint16_t worker) const {
    auto* at = static_cast<uint8_t*>(mappings_[worker].at) + kBucketsAt;
    return {reinterpret_cast<FlowTable::Bucket*>(at), buckets_};
}
uint64_t FlowMemory::hash_key() const { return header(0).hash_key; }
uint64_t FlowMemory::tsc_per_us() const { return header(0).tsc_per_us; }

void FlowMemory::unmap() {
    for (const Mapping& mapping : mappings_) {
        if (mapping.at != nullptr) munmap(mapping.at, mapping.size);
        if (mapping.fd >= 0) close(mapping.fd);
    }
    mappings_.clear();
}

FlowMemory::FlowMemory(FlowMemory&& other) noexcept
    : mappings_(std::exchange(other.mappings_, {})),
      buckets_(other.buckets_),
      begun_anew_(std::move(other.begun_anew_)) {}
FlowMemory& FlowMemory::operator=(FlowMemory&& other) noexcept {
    if (this == &other) return *this;
    unmap();
    mappings_ = std::exchange(other.mappings_, {});
    buckets_ = other.buckets_;
    begun_anew_ = std::move(other.begun_anew_);
    return *this;
}
FlowMemory::~FlowMemory() { unmap(); }

}  // namespace keyrail
