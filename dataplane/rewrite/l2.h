// SPDX-License-Identifier: Apache-2.0
// Stage `rewrite`: the Ethernet addresses. Nothing else of a client's packet ever changes.
#pragma once

#include <rte_mbuf.h>

#include <cstring>
#include <span>

#include "dataplane/burst.h"
#include "dataplane/io/ports.h"

namespace keyrail {

/// Destination: the next hop. Source: our port, as every hop does, so that switches learn where we are.
inline void rewrite_l2(rte_mbuf* mbuf, const NextHop& hop, const Ports& ports) {
    auto* ethernet = rte_pktmbuf_mtod(mbuf, uint8_t*);
    std::memcpy(ethernet, hop.mac.data(), 6);
    std::memcpy(ethernet + 6, ports.list[hop.port].mac.data(), 6);
}

/// The packet's buffer from its first byte, `size` bytes at least; empty when the buffer is too small.
inline std::span<uint8_t> room_for(const Packet& packet, size_t size) {
    const size_t room = packet.mbuf->data_len + size_t{rte_pktmbuf_tailroom(packet.mbuf)};
    if (room < size) return {};
    return {packet.data, room};
}

inline void set_size(Packet& packet, uint16_t size) {
    packet.mbuf->data_len = size;
    packet.mbuf->pkt_len = size;
    packet.size = size;
}

}  // namespace keyrail
