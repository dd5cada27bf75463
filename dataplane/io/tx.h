// SPDX-License-Identifier: Apache-2.0
// Stage `tx`: the one way out of a worker. Each packet ends in one of four functions, which counts it by its
// reason: sent to a wire, punted to the kernel, handed over to another worker, or dropped. What is sent or
// punted is gathered by device and handed over in batches, and what is dropped is freed in batches. Nothing
// waits: what a full device does not take is dropped, and counted as that, too.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/io/ports.h"
#include "dataplane/io/trace.h"

struct rte_mbuf;
struct rte_ring;

namespace keyrail {

class Tx {
  public:
    Tx(const Ports& ports, uint16_t queue, WorkerStats& stats, Trace& trace);

    /// `action`: forward or reply. With Tracing::on the packet's Exit is told, once the device has taken it.
    template <Tracing tracing>
    void send(Action action, uint8_t port, rte_mbuf* mbuf, Reason reason) {
        leave<tracing>(action, wires_[port], mbuf, reason);
    }
    template <Tracing tracing>
    void punt(uint8_t port, rte_mbuf* mbuf, Reason reason) {
        leave<tracing>(Action::punt, kernels_[port], mbuf, reason);
    }
    template <Tracing tracing>
    void hand_over(rte_ring* worker, rte_mbuf* mbuf, Reason reason);
    /// Its memory is free again after flush(), at the latest.
    template <Tracing tracing>
    void drop(rte_mbuf* mbuf, Reason reason) {
        if constexpr (tracing == Tracing::on) tell_of_drop(mbuf, reason);
        dropped_[dropped_count_++] = mbuf;
        if (dropped_count_ == dropped_.size()) free_dropped();
        stats_.count(reason);
    }

    void flush();
    /// Nothing goes: what was gathered is freed. For who only asks where packets would go (explain/).
    void forget();

  private:
    struct Queue {
        Counter* sent = nullptr;
        uint16_t device = 0;
        uint16_t count = 0;
        Reason full = Reason::drop_tx_full;
        std::array<rte_mbuf*, 126> mbufs;
    };
    static_assert(sizeof(Queue) == 1024);  // a power of two: found by a shift

    template <Tracing tracing>
    void leave(Action action, Queue& queue, rte_mbuf* mbuf, Reason reason) {
        if constexpr (tracing == Tracing::on) trace_.ends(mbuf, action, reason);
        queue.mbufs[queue.count++] = mbuf;
        if (queue.count == queue.mbufs.size()) flush(queue);
        stats_.count(reason);
    }
    void tell_of_drop(rte_mbuf* mbuf, Reason reason);
    void free_dropped();
    void flush(Queue& queue);
    void flush_traced(Queue& queue);
    void flush_all(std::span<Queue> queues);
    uint16_t hand_to_device(Queue& queue);

    const size_t ports_;
    std::array<Queue, kMaxPorts> wires_, kernels_;  // by port; the first ports_ are in use
    std::array<rte_mbuf*, 64> dropped_;
    uint16_t dropped_count_ = 0;
    uint16_t queue_;
    WorkerStats& stats_;
    Trace& trace_;
};

}  // namespace keyrail
