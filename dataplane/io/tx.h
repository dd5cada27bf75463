// SPDX-License-Identifier: Apache-2.0
// Stage `tx` (and `punt`): gathers what leaves, per device, and hands it over in batches. Never waits: what a
// full device does not take is dropped and counted.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/io/ports.h"

struct rte_mbuf;

namespace keyrail {

class Tx {
  public:
    Tx(const Ports& ports, uint16_t queue, WorkerStats& stats);

    void send(uint8_t port, rte_mbuf* mbuf) { add(wires_[port], mbuf); }    // to the wire
    void punt(uint8_t port, rte_mbuf* mbuf) { add(kernels_[port], mbuf); }  // to the kernel
    void drop(rte_mbuf* mbuf, Reason reason);                               // counts `reason`
    void flush();

  private:
    struct Queue {
        Counter* sent = nullptr;
        uint16_t device = 0;
        uint16_t count = 0;
        Reason full = Reason::drop_tx_full;
        std::array<rte_mbuf*, 126> mbufs;
    };
    static_assert(sizeof(Queue) == 1024);  // a power of two: found by a shift
    void add(Queue& queue, rte_mbuf* mbuf) {
        queue.mbufs[queue.count++] = mbuf;
        if (queue.count == queue.mbufs.size()) flush(queue);
    }
    void flush(Queue& queue);
    void flush_all(std::span<Queue> queues);

    const size_t ports_;
    std::array<Queue, kMaxPorts> wires_, kernels_;  // by port; the first ports_ are in use
    uint16_t queue_;
    WorkerStats& stats_;
};

}  // namespace keyrail
