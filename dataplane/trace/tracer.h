// SPDX-License-Identifier: Apache-2.0
// An operator's trace, in one worker: marks the packets that it is about when they come, and tells of each
// when it ends. The worker has it between two tasks of the control thread (link/trace_run.h); all memory is
// taken before. A worker without one does not look at any of this: pipeline.cc takes its other half.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"
#include "dataplane/trace/filter.h"
#include "dataplane/trace/record.h"

namespace keyrail {

class Tracer : public ExitListener {
  public:
    /// Packets that are under way (held, mostly), and records that wait for the control thread.
    static constexpr size_t kUnderWay = 2048, kRecords = 4096, kCaptured = 1024;

    struct Limits {
        uint32_t packets = 0;            // of all workers together
        uint16_t snap = 0;               // bytes of a frame that are kept
        std::atomic<uint32_t> taken{0};  // by all workers so far
    };
    Tracer(trace::Filter filter, std::shared_ptr<Limits> limits)
        : filter_(std::move(filter)),
          limits_(std::move(limits)),
          under_way_(kUnderWay),
          frames_(kUnderWay * limits_->snap),
          ring_(limits_->snap == 0 ? kRecords : kCaptured, limits_->snap) {}

    // --- the worker's
    /// Its packets have just come, or come again.
    void arrived(const Burst& burst, Context& context);
    /// Its hellos have been decided about, and their packets have not left yet.
    void decided(Burst& burst, Context& context);
    void ended(const Exit& exit) override;

    // --- the control thread's
    template <typename Use>
    bool take(Use use) {
        return ring_.take(use);
    }
    /// Records that found no room.
    [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

  private:
    trace::TracedPacket* record_of(uint32_t packet) {
        trace::TracedPacket& record = under_way_[packet % kUnderWay];
        return packet != 0 && record.exit.packet == packet ? &record : nullptr;
    }
    void tell_hello(rte_mbuf* mbuf, const trace::TracedHello& hello, const Context& context);

    const trace::Filter filter_;
    const std::shared_ptr<Limits> limits_;
    std::vector<trace::TracedPacket> under_way_;  // by number of the packet
    std::vector<uint8_t> frames_;                 // likewise
    trace::RecordRing ring_;
    std::atomic<uint64_t> lost_{0};
};

}  // namespace keyrail
