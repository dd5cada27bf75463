// SPDX-License-Identifier: Apache-2.0
// Memory that outlives the process: a file on tmpfs, ramfs or hugetlbfs, mapped whole. What is in it was
// written by another process, and is to be checked by whoever reads it. Only root reads it: keys may be in
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

namespace keyrail {

class KeptFile {
  public:
    /// Maps the file, writable, with `size` bytes at least; it is made where it is missing, and emptied where
    /// it has another size. Locked until it is closed. Errors: another process has it, no memory.
    static Result<KeptFile> open(const std::filesystem::path& file, size_t size);
    /// Maps a file as it is, to be read; likewise locked. No mapping: there is none, or it is empty.
    static Result<KeptFile> existing(const std::filesystem::path& file);
    /// The same without a file: nothing outlives the process.
    static Result<KeptFile> anonymous(size_t size);
    /// False: a disk, or no directory, where nothing of this belongs.
    static bool in_memory(const std::filesystem::path& directory);

    KeptFile() = default;
    KeptFile(KeptFile&& other) noexcept;
    KeptFile& operator=(KeptFile&& other) noexcept;
    ~KeptFile();  // the file stays

    [[nodiscard]] uint8_t* at() const { return static_cast<uint8_t*>(at_); }  // nullptr: no mapping
    [[nodiscard]] size_t size() const { return size_; }  // a multiple of the file system's blocks
    [[nodiscard]] bool outlives() const { return fd_ >= 0; }
    /// Others may have it; the mapping stays.
    void unlock();

  private:
    Result<void> take(const std::filesystem::path& file, int flags);
    Result<void> map(const std::filesystem::path& file, int protection);

    void* at_ = nullptr;
    size_t size_ = 0;
    int fd_ = -1;
};

/// What a kept file says of itself, at its beginning. `whole` is written last.
struct KeptHeader {
    uint64_t magic, layout;
    std::array<char, 64> boot;  // /proc/sys/kernel/random/boot_id
    uint64_t whole;             // 1: what is above, and what the file has, was written to its end

    /// Why what follows cannot be gone on with; "": it can.
    [[nodiscard]] std::string misfit(uint64_t its_magic, uint64_t its_layout,
                                     std::string_view this_boot) const;
    void fill(uint64_t its_magic, uint64_t its_layout, std::string_view this_boot);  // but for `whole`
};
static_assert(sizeof(KeptHeader) == 88);

}  // namespace keyrail
