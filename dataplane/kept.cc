// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kept.h"

#include <rte_cycles.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace keyrail {
namespace {

constexpr uint64_t kMovedMagic = 0x646f766d'6b79656b;  // "keykmvod"
/// To be raised when a bucket's bytes mean something else than before.
constexpr uint64_t kMovedVersion = 1;
/// Sizes of files are rounded, so the number of buckets is said, too.
uint64_t moved_layout(size_t buckets) {
    return kMovedVersion << 56 | uint64_t{buckets} << 16 | sizeof(MovedTable::Bucket);
}
constexpr size_t kBucketsAt = 4096;

/// A directory of our own in one that others use, too.
Result<void> make_ours(const std::filesystem::path& directory) {
    if (mkdir(directory.c_str(), S_IRWXU) == 0) return {};
    const int error = errno;
    struct stat now{};
    if (error != EEXIST) return fail("{} cannot be made: {}", directory.string(), strerror(error));
    if (lstat(directory.c_str(), &now) != 0 || !S_ISDIR(now.st_mode) || now.st_uid != geteuid() ||
        (now.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail("{} is not a directory of this user alone; remove it", directory.string());
    return {};
}

std::string boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(file, id);
    return id;
}

}  // namespace

Result<void> Kept::open_flows(const Profile& profile, const FlowMemory::Shape& shape) {
    auto opened = directory_.empty() ? FlowMemory::anonymous(shape) : FlowMemory::open(directory_, shape);
    if (!opened) return fail("{}: flow tables: {}", profile.file.string(), opened.error().message);
    flows_ = std::move(*opened);
    if (directory_.empty()) return {};
    if (!flows_->begun_anew().empty())
        SPDLOG_INFO("flow tables in {} begin empty: {}", directory_.string(), flows_->begun_anew());
    else if (const auto& before = flows_->before(); before)
        SPDLOG_INFO("flow tables in {} go on: {} flows of {} workers with {} places each, spread anew",
                    directory_.string(), before->flows, before->workers,
                    before->buckets * FlowTable::Bucket::kPlaces);
    else
        SPDLOG_INFO("flow tables in {} go on", directory_.string());
    return {};
}

Result<void> Kept::open_moved(const Profile& profile, const std::string& boot) {
    const size_t count = MovedTable::buckets_for(profile.moved),
                 size = kBucketsAt + count * sizeof(MovedTable::Bucket);
    auto file = directory_.empty() ? KeptFile::anonymous(size) : KeptFile::open(directory_ / "moved", size);
    if (!file && !directory_.empty()) {  // keyraild knows it all, and sends it again
        SPDLOG_WARN("the moved table does not outlive a restart: {}", file.error().message);
        file = KeptFile::anonymous(size);
    }
    if (!file) return fail("{}: moved table: {}", profile.file.string(), file.error().message);
    moved_file_ = std::move(*file);
    auto& header = *reinterpret_cast<KeptHeader*>(moved_file_.at());
    auto* buckets = reinterpret_cast<MovedTable::Bucket*>(moved_file_.at() + kBucketsAt);
    if (moved_file_.outlives() && !header.misfit(kMovedMagic, moved_layout(count), boot).empty()) {
        header.whole = 0;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        std::memset(static_cast<void*>(buckets), 0, count * sizeof(MovedTable::Bucket));
        header.fill(kMovedMagic, moved_layout(count), boot);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        header.whole = 1;
    }
    moved_ = std::make_unique<MovedTable>(std::span(buckets, count), profile.moved);
    if (moved_->size() != 0)
        SPDLOG_INFO("moved table in {} goes on: {} sessions", directory_.string(), moved_->size());
    return {};
}

Result<Kept> Kept::open(const Profile& profile, const std::filesystem::path& run_dir, uint64_t fresh_key) {
    Kept kept;
    const bool named = !profile.flow_directory.empty();
    if (named || KeptFile::in_memory(run_dir))
        kept.directory_ = named ? std::filesystem::path(profile.flow_directory) / "keyrail" : run_dir;
    else
        SPDLOG_WARN("flows do not outlive a restart: {} is on a disk; set memory.flow_directory",
                    run_dir.string());
    if (named)
        if (auto good = make_ours(kept.directory_); !good)
            return fail("{}: memory.flow_directory: {}", profile.file.string(), good.error().message);
    const FlowMemory::Shape shape{
        .workers = profile.workers,
        .buckets = std::bit_ceil((size_t{profile.flows} + 3) / 4),
        .tsc_per_us = std::max<uint64_t>(1, rte_get_tsc_hz() / 1'000'000),
        .boot = boot_id(),
        .fresh_key = fresh_key,
    };
    if (auto good = kept.open_flows(profile, shape); !good) return tl::make_unexpected(good.error());
    if (auto good = kept.open_moved(profile, shape.boot); !good) return tl::make_unexpected(good.error());
    if (!kept.directory_.empty()) kept.snapshot_.emplace(kept.directory_, shape.boot);
    return kept;
}

}  // namespace keyrail
