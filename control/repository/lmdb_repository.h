// SPDX-License-Identifier: Apache-2.0
// The repository inside keyraild: an LMDB environment in its state directory.
//
// It is never synced to disk while it runs: a keyraild that is killed loses nothing, since the pages are the
// kernel's, and a machine that crashes starts with an empty one, which the agents fill again. A file beside
// it tells the two apart: it names the boot that the environment was opened in, and is removed when it was
// closed properly.
#pragma once

#include <filesystem>

#include "control/repository/repository.h"

namespace keyrail {

struct LmdbOptions {
    std::filesystem::path directory;   // made with mode 0700 when it is not there
    uint64_t size_bytes = 1ULL << 30;  // when it is full, what expires first makes room
    std::filesystem::path boot_id = "/proc/sys/kernel/random/boot_id";
};

Result<std::unique_ptr<Repository>> open_lmdb_repository(const LmdbOptions& options);

}  // namespace keyrail
