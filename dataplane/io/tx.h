// SPDX-License-Identifier: Apache-2.0
// Stage `tx` (and `punt`): gathers what leaves, per device, and hands it over in batches. Never waits: what a
// full device does not take is dropped and counted.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/io/ports.h"
#include "dataplane/stats.h"

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
        uint16_t device = 0;
        Counter* sent = nullptr;
        Reason full = Reason::drop_tx_full;
        uint16_t count = 0;
        std::array<rte_mbuf*, 128> mbufs;
    };
    void add(Queue& queue, rte_mbuf* mbuf) {
        queue.mbufs[queue.count++] = mbuf;
        if (queue.count == queue.mbufs.size()) flush(queue);
    }
    void flush(Queue& queue);

    std::vector<Queue> wires_, kernels_;
    uint16_t queue_;
    WorkerStats& stats_;
};

}  // namespace keyrail
