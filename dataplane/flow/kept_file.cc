// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/kept_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace keyrail {
namespace {

size_t rounded(size_t size, size_t to) { return (size + to - 1) / to * to; }

}  // namespace

bool KeptFile::in_memory(const std::filesystem::path& directory) {
    struct statfs about{};
    if (statfs(directory.c_str(), &about) != 0) return false;
    const auto type = static_cast<uint64_t>(about.f_type);
    return type == TMPFS_MAGIC || type == HUGETLBFS_MAGIC || type == RAMFS_MAGIC;
}

Result<void> KeptFile::take(const std::filesystem::path& file, int flags) {
    fd_ = ::open(file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, S_IRUSR | S_IWUSR);
    if (fd_ < 0) return fail("{} cannot be opened: {}", file.string(), strerror(errno));
    struct stat now{};
    if (fstat(fd_, &now) != 0 || !S_ISREG(now.st_mode)) return fail("{} is not a file", file.string());
    if (now.st_uid != geteuid() || now.st_nlink != 1 || (now.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail("{} is not of this user alone; remove it", file.string());
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0)
        return fail("{} is another process's; give each keyrail-dp its own memory.flow_directory",
                    file.string());
    size_ = static_cast<size_t>(now.st_size);
    return {};
}

Result<void> KeptFile::map(const std::filesystem::path& file, int protection) {
    void* at = mmap(nullptr, size_, protection, MAP_SHARED, fd_, 0);
    if (at == MAP_FAILED) return fail("{} cannot be mapped: {}", file.string(), strerror(errno));
    at_ = at;
    madvise(at, size_, MADV_HUGEPAGE);
    madvise(at, size_, MADV_DONTDUMP);
    return {};
}

Result<KeptFile> KeptFile::open(const std::filesystem::path& file, size_t size) {
    KeptFile kept;
    if (auto good = kept.take(file, O_RDWR | O_CREAT); !good) return tl::make_unexpected(good.error());
    struct statfs about{};
    if (fstatfs(kept.fd_, &about) != 0 || fchmod(kept.fd_, S_IRUSR | S_IWUSR) != 0)
        return fail("{}: {}", file.string(), strerror(errno));
    size = rounded(size, static_cast<size_t>(about.f_bsize));
    // Another size is another shape: what is in it is of no use.
    if (kept.size_ != size && ftruncate(kept.fd_, 0) != 0)
        return fail("{}: {}", file.string(), strerror(errno));
    kept.size_ = size;
    if (const int error = posix_fallocate(kept.fd_, 0, static_cast<off_t>(size)); error != 0)
        return fail(
            "{}: no room for {} MiB ({}); lower memory.flows or memory.moved, or make more room: "
            "vm.nr_hugepages where it is on huge pages",
            file.string(), size >> 20, strerror(error));
    if (auto good = kept.map(file, PROT_READ | PROT_WRITE); !good) return tl::make_unexpected(good.error());
    return kept;
}

Result<KeptFile> KeptFile::existing(const std::filesystem::path& file) {
    KeptFile kept;
    if (!std::filesystem::exists(std::filesystem::symlink_status(file))) return kept;
    if (auto good = kept.take(file, O_RDONLY); !good) return tl::make_unexpected(good.error());
    if (kept.size_ == 0) return KeptFile();
    if (auto good = kept.map(file, PROT_READ); !good) return tl::make_unexpected(good.error());
    return kept;
}

Result<KeptFile> KeptFile::anonymous(size_t size) {
    constexpr size_t kHugePage = 2u << 20;
    KeptFile kept;
    kept.size_ = rounded(size, kHugePage);
    void* at = mmap(nullptr, kept.size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return fail("no memory for {} MiB", kept.size_ >> 20);
    kept.at_ = at;
    madvise(at, kept.size_, MADV_HUGEPAGE);
    return kept;
}

KeptFile::KeptFile(KeptFile&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}
KeptFile& KeptFile::operator=(KeptFile&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    std::swap(fd_, other.fd_);
    return *this;
}
void KeptFile::unlock() {
    if (fd_ < 0) return;
    flock(fd_, LOCK_UN);  // the mapping would keep it
    close(std::exchange(fd_, -1));
}
KeptFile::~KeptFile() {
    if (at_ != nullptr) munmap(at_, size_);
    if (fd_ >= 0) close(fd_);
}

std::string KeptHeader::misfit(uint64_t its_magic, uint64_t its_layout, std::string_view this_boot) const {
    if (whole != 1 || magic != its_magic) return "there were none";
    if (layout != its_layout) return "they were another version's";
    if (std::string_view(boot.data(), strnlen(boot.data(), boot.size())) != this_boot)
        return "the machine was started meanwhile";
    return "";
}

void KeptHeader::fill(uint64_t its_magic, uint64_t its_layout, std::string_view this_boot) {
    magic = its_magic;
    layout = its_layout;
    boot = {};
    this_boot.copy(boot.data(), boot.size() - 1);
}

}  // namespace keyrail
