// SPDX-License-Identifier: Apache-2.0
// The dispatcher's own decision about a hello of a capture, by the snapshot of a file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"
#include "dataplane/core/burst.h"
#include "dataplane/core/names.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/replay/tcp.h"

namespace keyrail::replay {

/// The reason why it goes where it goes. The blade is not told where Maglev picks it by the connection: each
/// run of the dispatcher hashes by another key. Sessions are taken to be at home: a capture does not tell of
/// moves.
struct Steered {
    Reason reason;
    BladeId blade = 0;      // 0: some blade of the pool
    BladeId move_from = 0;  // its session is moved from there first
};

class Steering {
  public:
    /// `file`: a Snapshot (dataplane/common/link.proto) in protobuf's text format.
    static Result<Steering> open(const std::filesystem::path& file);
    /// nullopt: not for a service of the snapshot.
    std::optional<Steered> decide(const Found& found);

  private:
    std::unique_ptr<Snapshot> snapshot_;
    std::unique_ptr<NameDecrypter> names_;
    std::unique_ptr<WorkerStats> stats_;  // nobody reads them
};

}  // namespace keyrail::replay
