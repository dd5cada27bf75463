// SPDX-License-Identifier: Apache-2.0
#include "dataplane/explain/find_flows.h"

namespace keyrail::explain {

FindFlowsTask::FindFlowsTask(const std::vector<uint64_t>& of) : hashes(of) {
    run = [](WorkerTask& task, Context& context) {
        auto& mine = static_cast<FindFlowsTask&>(task);
        mine.now_ticks = context.clock.ticks;
        for (const uint64_t hash : mine.hashes) context.flows.prefetch(hash);
        for (size_t i = 0; i < mine.hashes.size(); i++)
            if (const Flow* flow = context.flows.find(mine.hashes[i], mine.now_ticks); flow != nullptr)
                mine.found.emplace_back(i, *flow);
    };
}

}  // namespace keyrail::explain
