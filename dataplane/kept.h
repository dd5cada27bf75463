// SPDX-License-Identifier: Apache-2.0
// What outlives a keyrail-dp, in one directory: flow tables (flows.N), moved table (moved), last snapshot
// (snapshot). The next one goes on with each of them where it fits, and says why where it does not.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/common/result.h"
#include "dataplane/flow/flow_memory.h"
#include "dataplane/flow/kept_file.h"
#include "dataplane/link/kept_snapshot.h"
#include "dataplane/profile/profile.h"
#include "dataplane/tables/moved_table.h"

namespace keyrail {

class Kept {
  public:
    /// In `memory.flow_directory`/keyrail, else in the run directory; where that is on a disk nothing is
    /// kept, which is logged. `fresh_key`: of the flow hash, where none is found.
    static Result<Kept> open(const Profile& profile, const std::filesystem::path& run_dir,
                             uint64_t fresh_key);

    [[nodiscard]] const FlowMemory& flows() const { return *flows_; }
    /// Outlived by this.
    [[nodiscard]] MovedTable& moved() const { return *moved_; }
    /// nullptr: nothing is kept.
    [[nodiscard]] KeptSnapshot* snapshot() { return snapshot_ ? &*snapshot_ : nullptr; }

  private:
    Kept() = default;
    Result<void> open_flows(const Profile& profile, const FlowMemory::Shape& shape);
    Result<void> open_moved(const Profile& profile, const std::string& boot);

    std::filesystem::path directory_;  // "": nothing is kept
    std::optional<FlowMemory> flows_;
    KeptFile moved_file_;
    std::unique_ptr<MovedTable> moved_;
    std::optional<KeptSnapshot> snapshot_;
};

}  // namespace keyrail
