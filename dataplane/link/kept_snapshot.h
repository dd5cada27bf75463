// SPDX-License-Identifier: Apache-2.0
// The last snapshot, in a file beside the flow tables: the next keyrail-dp steers before keyraild has come
// again, or without it. Keys are in it: only root reads it, and it is in memory, never on a disk.
#pragma once

#include <filesystem>
#include <string>

#include "dataplane/common/result.h"
#include "dataplane/flow/kept_file.h"

namespace keyrail {

namespace link {
class Snapshot;
}

class KeptSnapshot {
  public:
    /// `directory`: a tmpfs or hugetlbfs (KeptFile::in_memory). `boot`: of this machine, as in KeptHeader.
    KeptSnapshot(std::filesystem::path directory, std::string boot);

    /// Replaces the one before, whole or not at all. Error: no room.
    [[nodiscard]] Result<void> keep(const link::Snapshot& message);
    /// As it was kept, but checked for nothing but that (Snapshot::build() is to follow). Error: there is
    /// none, or it is of no use, and why.
    [[nodiscard]] Result<void> read(link::Snapshot& message) const;

  private:
    std::filesystem::path directory_;
    std::string boot_;
    KeptFile last_;
};

}  // namespace keyrail
