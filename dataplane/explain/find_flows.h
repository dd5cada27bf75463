// SPDX-License-Identifier: Apache-2.0
// Flows of a client. The flow table has no addresses, only hashes of connections (flow/flow_table.h): those
// that a client can have are tried, a few hundred at a time, each worker between two of its turns.
#pragma once

#include <utility>
#include <vector>

#include "dataplane/core/context.h"

namespace keyrail::explain {

/// Which of these hashes are in the worker's flow table.
struct FindFlowsTask : WorkerTask {
    /// So many cost a worker about 25 us, as a burst of hellos does.
    static constexpr size_t kMost = 256;

    explicit FindFlowsTask(const std::vector<uint64_t>& of);
    const std::vector<uint64_t> hashes;
    std::vector<std::pair<size_t, Flow>> found;  // index into `hashes`
    uint32_t now_ticks = 0;
};

}  // namespace keyrail::explain
