// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rewrite/too_big.h"

#include <rte_mbuf.h>

#include "dataplane/rewrite/icmp_error.h"
#include "dataplane/wire/macs.h"

namespace keyrail {
TooBig answer_too_big(rte_mbuf* mbuf, NextHop hop, Context& context) {
    auto* frame = rte_pktmbuf_mtod(mbuf, uint8_t*);
    uint32_t l3 = kEthernetSize;
    while (l3 < kEthernetSize + kTagsMax && is_tag(frame + l3 - 2)) l3 += kTagSize;
    const bool ipv6 = load16(frame + l3 - 2) == kEtherTypeIpv6;
    uint8_t* ip = frame + l3;
    const uint32_t size = ipv6 ? kIpv6Size + load16(ip + 4) : load16(ip + 2);
    const uint32_t mtu = context.mtus.longest_frame[hop.port()] - kEthernetSize;
    if (size <= mtu || l3 + size > mbuf->data_len) return TooBig::fits;
    if (rte_mbuf_refcnt_read(mbuf) > 1 || !context.too_bigs.take(context.clock.us)) return TooBig::unanswered;
    const uint32_t length = write_icmp_error(ip, size, ipv6, kTooBig, mtu);
    swap_macs(frame);
    mbuf->data_len = static_cast<uint16_t>(l3 + length);
    mbuf->pkt_len = l3 + length;
    return TooBig::answered;
}

}  // namespace keyrail
