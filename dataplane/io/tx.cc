// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/tx.h"

#include <rte_ethdev.h>

namespace keyrail {

Tx::Tx(const Ports& ports, uint16_t queue, WorkerStats& stats)
    : ports_(ports.list.size()), queue_(queue), stats_(stats) {
    for (size_t i = 0; i < ports_; i++) {
        wires_[i].sent = &stats.tx;
        wires_[i].device = ports.list[i].device;
        kernels_[i].sent = &stats.punt;
        kernels_[i].device = ports.list[i].kernel;
        kernels_[i].full = Reason::drop_punt_full;
    }
}

void Tx::drop(rte_mbuf* mbuf, Reason reason) {
    rte_pktmbuf_free(mbuf);
    stats_.count(reason);
}

void Tx::flush(Queue& queue) {
    const uint16_t sent = rte_eth_tx_burst(queue.device, queue_, queue.mbufs.data(), queue.count);
    queue.sent->add(sent);
    for (uint16_t i = sent; i < queue.count; i++) drop(queue.mbufs[i], queue.full);
    queue.count = 0;
}

void Tx::flush_all(std::span<Queue> queues) {
    for (Queue& queue : queues.first(ports_))
        if (queue.count > 0) flush(queue);
}

void Tx::flush() {
    flush_all(wires_);
    flush_all(kernels_);
}

}  // namespace keyrail
