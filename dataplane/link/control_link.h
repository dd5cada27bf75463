// SPDX-License-Identifier: Apache-2.0
// keyrail-dp's end of the link to keyraild (dataplane/common/link.proto). Takes snapshots, moved sessions and
// the outcomes of moves, passes on the workers' asks, answers with counters. Bad messages are refused with
// the reason and change nothing. Without keyraild the workers go on with what they have.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/common/stats.h"
#include "dataplane/core/shared.h"
#include "dataplane/explain/shadow.h"
#include "dataplane/io/ports.h"
#include "dataplane/link/event_loop.h"

namespace keyrail {

class KeptSnapshot;
class KernelRoutes;

class ControlLink {
  public:
    struct Parts {
        EventLoop& loop;
        const Ports& ports;
        Shared& shared;                           // routes may be null; everything else is set
        std::vector<const WorkerStats*> workers;  // by worker index
        KernelRoutes* kernel = nullptr;           // null: blades' neighbours and VIPs are not looked after
        KeptSnapshot* kept = nullptr;  // for the next process, and of the one before; null: it is not kept
        // The flow tables go on. Else nobody but keyraild knows whose a connection is, and it is waited for.
        bool flows_go_on = false;
        std::string version;
        explain::Pipeline pipeline = nullptr;  // null: nothing is explained
    };

    /// Listens at `socket` (mode 0600) and takes part in the loop from now on. Until keyraild comes the
    /// snapshot of the process before is in force, where that was kept.
    static Result<std::unique_ptr<ControlLink>> listen(const std::filesystem::path& socket, Parts parts);
    /// Removes the socket; frees the snapshot. Workers must have ended.
    ~ControlLink();
    ControlLink(const ControlLink&) = delete;
    ControlLink& operator=(const ControlLink&) = delete;

  private:
    ControlLink();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
