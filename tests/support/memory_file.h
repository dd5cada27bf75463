// SPDX-License-Identifier: Apache-2.0
// Bytes as a file that no disk sees, for parsers that take a path.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <span>
#include <string>

namespace keyrail::test {

class MemoryFile {
  public:
    explicit MemoryFile(std::span<const uint8_t> bytes) : fd_(memfd_create("keyrail-test", MFD_CLOEXEC)) {
        if (fd_ < 0 || write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
            __builtin_trap();
    }
    ~MemoryFile() { close(fd_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  private:
    int fd_;
};

}  // namespace keyrail::test
