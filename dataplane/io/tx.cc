// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/tx.h"

#include <rte_ethdev.h>
#include <rte_ring.h>

namespace keyrail {

Tx::Tx(const Ports& ports, uint16_t queue, WorkerStats& stats, Trace& trace)
    : ports_(ports.list.size()), queue_(queue), stats_(stats), trace_(trace) {
    for (size_t i = 0; i < ports_; i++) {
        wires_[i].sent = &stats.tx;
        wires_[i].device = ports.list[i].device;
        kernels_[i].sent = &stats.punt;
        kernels_[i].device = ports.list[i].kernel;
        kernels_[i].full = Reason::drop_punt_full;
    }
}

void Tx::tell_of_drop(rte_mbuf* mbuf, Reason reason) {
    trace_.ends(mbuf, Action::drop, reason);
    trace_.tell(trace_.exit(mbuf));
}

void Tx::free_dropped() {
    rte_pktmbuf_free_bulk(dropped_.data(), dropped_count_);
    dropped_count_ = 0;
}

template <Tracing tracing>
void Tx::hand_over(rte_ring* worker, rte_mbuf* mbuf, Reason reason) {
    Exit exit;  // read before: afterwards the packet is the other worker's
    if constexpr (tracing == Tracing::on) {
        trace_.ends(mbuf, Action::handoff, reason);
        exit = trace_.exit(mbuf);
    }
    if (rte_ring_enqueue(worker, mbuf) != 0) {
        if constexpr (tracing == Tracing::on) trace_.stopped(mbuf, Stage::egress);
        return drop<tracing>(mbuf, Reason::drop_handoff_full);
    }
    if constexpr (tracing == Tracing::on) trace_.tell(exit);
    stats_.count(reason);
}
template void Tx::hand_over<Tracing::off>(rte_ring* worker, rte_mbuf* mbuf, Reason reason);
template void Tx::hand_over<Tracing::on>(rte_ring* worker, rte_mbuf* mbuf, Reason reason);

[[gnu::always_inline]] inline uint16_t Tx::hand_to_device(Queue& queue) {
    const uint16_t sent = rte_eth_tx_burst(queue.device, queue_, queue.mbufs.data(), queue.count);
    queue.sent->add(sent);
    return sent;
}

void Tx::flush(Queue& queue) {
    if (trace_.on()) [[unlikely]]
        return flush_traced(queue);
    const uint16_t sent = hand_to_device(queue);
    for (uint16_t i = sent; i < queue.count; i++) drop<Tracing::off>(queue.mbufs[i], queue.full);
    queue.count = 0;
}

void Tx::flush_traced(Queue& queue) {
    std::array<Exit, std::tuple_size_v<decltype(queue.mbufs)>> exits;  // read before the packets are gone
    for (uint16_t i = 0; i < queue.count; i++) exits[i] = trace_.exit(queue.mbufs[i]);
    const uint16_t sent = hand_to_device(queue);
    for (uint16_t i = 0; i < sent; i++) trace_.tell(exits[i]);
    for (uint16_t i = sent; i < queue.count; i++) {
        trace_.stopped(queue.mbufs[i], Stage::tx);
        drop<Tracing::on>(queue.mbufs[i], queue.full);
    }
    queue.count = 0;
}

void Tx::flush_all(std::span<Queue> queues) {
    for (Queue& queue : queues.first(ports_))
        if (queue.count > 0) flush(queue);
}

void Tx::forget() {
    for (const std::span queues : {std::span(wires_), std::span(kernels_)})
        for (Queue& queue : queues.first(ports_)) {
            for (rte_mbuf* mbuf : std::span(queue.mbufs).first(queue.count)) trace_.tell(trace_.exit(mbuf));
            rte_pktmbuf_free_bulk(queue.mbufs.data(), queue.count);
            queue.count = 0;
        }
    free_dropped();
}

void Tx::flush() {
    flush_all(wires_);
    flush_all(kernels_);
    if (dropped_count_ > 0) free_dropped();
}

}  // namespace keyrail
