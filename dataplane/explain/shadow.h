// SPDX-License-Identifier: Apache-2.0
// A worker that is none: a Context of its own, with the live tables that workers share and a copy of what one
// of them knows of a connection. Packets run through the packet path itself in it. They go nowhere: no queue
// of a device, no flow, hold, counter or question of a live worker is touched. The control thread's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"
#include "dataplane/explain/observe.h"

namespace keyrail::explain {

/// run_pipeline (pipeline.h), which is above this folder.
using Pipeline = void (*)(Burst&, Context&);

/// What became of a packet, and of the hello that it made whole.
struct Outcome {
    Exit exit;                            // Stage::none: it is held
    std::vector<uint8_t> frame;           // as it would have left
    std::unique_ptr<PendingHello> hello;  // its packet and hold say nothing any more
};

class Shadow : private ExitListener {
  public:
    /// Takes rings and holds of its own. `live` and `ports` outlive it.
    static Result<std::unique_ptr<Shadow>> create(const Shared& live, const Ports& ports, Pipeline pipeline);
    ~Shadow() override;
    Shadow(const Shadow&) = delete;
    Shadow& operator=(const Shadow&) = delete;

    /// From now on it is as the live ones are: with this snapshot and what a worker has seen.
    void become(const Snapshot& snapshot, const Observed& seen, const Headers& connection);
    /// A packet that a front port has received, alone in its burst. nullopt: there is no packet memory left.
    std::optional<Outcome> run(const std::vector<uint8_t>& frame);
    /// What was sent before, and has left only now: the last word on it.
    [[nodiscard]] const std::vector<Exit>& exits() const { return exits_; }
    /// Moves that it would have asked for.
    std::vector<MoveAsk> asks();
    /// Forgets the connection.
    void clear();

    [[nodiscard]] const Ports& ports() const { return ports_; }
    [[nodiscard]] uint64_t hash(const Headers& connection) const { return context_->flow_hash(connection); }
    [[nodiscard]] const Context& context() const { return *context_; }
    [[nodiscard]] const Shared& live() const { return live_; }

  private:
    Shadow(const Shared& live, const Ports& ports, Pipeline pipeline);
    void ended(const Exit& exit) override { exits_.push_back(exit); }
    void copy_shared(const Snapshot& snapshot);

    const Shared& live_;
    const Ports& ports_;
    const Pipeline pipeline_;
    std::unique_ptr<Shared> shared_;
    std::vector<FlowTable::Bucket> buckets_;
    std::unique_ptr<Context> context_;
    std::unique_ptr<Burst> burst_;
    std::vector<Exit> exits_;
    uint32_t packets_ = 0;
    uint64_t hash_ = 0;
    rte_ring* flow_asks_ = nullptr;  // for as long as there is somebody to ask
};

}  // namespace keyrail::explain
