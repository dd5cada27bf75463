// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/tx.h"

#include <rte_ethdev.h>

namespace keyrail {

Tx::Tx(const Ports& ports, uint16_t queue, WorkerStats& stats) : queue_(queue), stats_(stats) {
    for (const Port& port : ports.list) {
        wires_.push_back({port.device, &stats.tx, Reason::drop_tx_full, 0, {}});
        kernels_.push_back({port.kernel, &stats.punt, Reason::drop_punt_full, 0, {}});
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

void Tx::flush() {
    for (Queue& queue : wires_)
        if (queue.count > 0) flush(queue);
    for (Queue& queue : kernels_)
        if (queue.count > 0) flush(queue);
}

}  // namespace keyrail
