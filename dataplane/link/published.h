// SPDX-License-Identifier: Apache-2.0
// What keyraild publishes to the workers: the snapshot in force, and the moved table. Bad messages are
// refused with the reason, and change nothing. Only the control thread calls.
#pragma once

#include <cstdint>

#include "dataplane/common/result.h"
#include "dataplane/core/shared.h"

namespace keyrail {

class KeptSnapshot;
class KernelRoutes;
namespace link {
class MovedEntries;
class MovedEntry;
class Snapshot;
}  // namespace link

class Published {
  public:
    /// All outlive this. `kernel` null: blades' neighbours and VIPs are not looked after. `kept` null: the
    /// next process begins without a snapshot.
    Published(Shared& shared, KernelRoutes* kernel, KeptSnapshot* kept)
        : shared_(shared), kernel_(kernel), kept_(kept) {}

    /// In force when it returns: no worker reads the one before any more.
    Result<void> take(const link::Snapshot& message);
    /// With the snapshot of the process before, as it went on with its last one without keyraild.
    void go_on();
    Result<void> take(const link::MovedEntries& message);
    /// One that check_moved() has found good. Error: the table is full.
    Result<void> set_moved(const link::MovedEntry& entry);

  private:
    Result<void> put_in_force(const link::Snapshot& message);
    void sync_kernel(const link::Snapshot& message);

    Shared& shared_;
    KernelRoutes* kernel_;
    KeptSnapshot* kept_;
};

Result<void> check_moved(const link::MovedEntry& entry);
/// Keys are not left behind in a message.
void wipe_keys(link::Snapshot& snapshot);
/// In seconds, as entries of the moved table expire.
uint32_t unix_now();

}  // namespace keyrail
