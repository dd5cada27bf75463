// SPDX-License-Identifier: Apache-2.0
// Stage `rewrite`: the Ethernet header, VLAN tags included. Nothing else of a client's packet ever changes.
#pragma once

#include <rte_mbuf.h>

#include <cstring>
#include <span>

#include "dataplane/core/burst.h"
#include "dataplane/core/context.h"
#include "dataplane/wire/macs.h"

namespace keyrail {

/// The tags that the frame came with make place for those of the link that it leaves by; the EtherType behind
/// them stays where it is. False: no room in the buffer.
inline bool retag(rte_mbuf* mbuf, const TagStack& tags) {
    const auto* ethernet = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    uint16_t had = 0;
    while (had < kTagsMax && is_tag(ethernet + 12 + had)) had += kTagSize;
    if (rte_pktmbuf_prepend(mbuf, tags.size) == nullptr) return false;
    rte_pktmbuf_adj(mbuf, had);
    std::memcpy(rte_pktmbuf_mtod(mbuf, uint8_t*) + 12, tags.bytes.data(), tags.size);
    return true;
}

/// Destination: the next hop. Source: our port, as every hop does, so that switches learn where we are.
inline void write_macs(uint8_t* ethernet, NextHop hop, const Context& context) {
    write_macs(ethernet, Macs{hop.mac_word(), context.port_macs[hop.port()]});
}

/// MACs and tags of any frame. False: the tags of the link found no room.
[[nodiscard]] inline bool rewrite_l2(rte_mbuf* mbuf, NextHop hop, const Context& context) {
    const bool tagged = is_tag(rte_pktmbuf_mtod(mbuf, const uint8_t*) + 12) || hop.tags() != 0;
    if (tagged && !retag(mbuf, context.shared.tag_stacks[hop.tags()])) return false;
    write_macs(rte_pktmbuf_mtod(mbuf, uint8_t*), hop, context);
    return true;
}

/// The packet's buffer from its first byte, `size` bytes at least; empty when the buffer is too small.
inline std::span<uint8_t> room_for(const Packet& packet, size_t size) {
    const size_t room = size_t{packet.mbuf->buf_len} - packet.mbuf->data_off;
    if (room < size) return {};
    return {packet.data, room};
}

inline void set_size(Packet& packet, uint16_t size) {
    packet.mbuf->data_len = size;
    packet.mbuf->pkt_len = size;
    packet.size = size;
}

}  // namespace keyrail
