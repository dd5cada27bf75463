// SPDX-License-Identifier: Apache-2.0
// A directory on tmpfs, gone with its owner.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>

namespace keyrail::testing {

class TempDirectory {
  public:
    TempDirectory() {
        char name[] = "/dev/shm/keyrail-test-XXXXXX";
        if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp under /dev/shm failed");
        path_ = name;
    }
    ~TempDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace keyrail::testing
