// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/port.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>

#include "dataplane/io/device.h"

namespace keyrail::loadgen {

Result<std::unique_ptr<Port>> Port::open(const std::string& device, rte_mempool* pool) {
    auto id = probe_device(device);
    if (!id) return tl::make_unexpected(id.error());
    auto port = std::make_unique<Port>(*id);
    if (auto started = start_device(*id, {.rx = 1, .tx = 1, .descriptors = 2048}, pool); !started)
        return fail("{}: {}", device, started.error().message);
    rte_eth_promiscuous_enable(*id);  // frames are for blades, not for the device; some know no filter at all
    return port;
}

Port::~Port() {
    rte_pktmbuf_free_bulk(queue_.data(), waiting_);
    close_device(id_);
}

bool Port::linked() const {
    rte_eth_link link{};
    return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

uint16_t Port::receive(rte_mbuf** out) {
    if (!room()) return 0;
    const uint16_t count = rte_eth_rx_burst(id_, 0, out, kBurst);
    received_ += count;
    for (uint16_t i = 0; i < count; i++) rte_prefetch0(rte_pktmbuf_mtod(out[i], void*));
    return count;
}

void Port::send(rte_mbuf* into, const Path& path, const Segment& segment, uint32_t tsecr,
                const Payload& payload) {
    rte_pktmbuf_reset(into);
    into->data_len = write_frame(rte_pktmbuf_mtod(into, uint8_t*), path, segment, tsecr, payload);
    into->pkt_len = into->data_len;
    queue_[waiting_++] = into;
}

void Port::flush() {
    if (waiting_ == 0) return;
    const uint16_t taken = rte_eth_tx_burst(id_, 0, queue_.data(), waiting_);
    sent_ += taken;
    if (taken == waiting_) {
        waiting_ = 0;
        return;
    }
    refused_++;
    std::copy(queue_.begin() + taken, queue_.begin() + waiting_, queue_.begin());
    waiting_ = static_cast<uint16_t>(waiting_ - taken);
}

}  // namespace keyrail::loadgen
