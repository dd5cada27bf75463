// SPDX-License-Identifier: Apache-2.0
// The dispatcher's ports: each is a DPDK device plus the kernel's end of it, a TAP interface through which
// everything that is not for a service reaches the kernel and comes back (ARP, ND, ping, the control plane).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/profile/profile.h"
#include "dataplane/tables/next_hop.h"

struct rte_mempool;

namespace keyrail {

enum class PortRole : uint8_t { front, back };

struct Port {
    std::string name;  // as in the profile
    PortRole role;
    uint16_t device;         // DPDK port id of the wire
    uint16_t kernel;         // DPDK port id of the TAP
    int kernel_ifindex;      // the TAP's ifindex in the kernel
    MacAddress mac;          // of the wire; the TAP has the same
    uint16_t queues;         // rx queues of the wire; worker i polls queue i where there is one
    uint16_t tx_queues;      // tx queues of the wire; every worker needs one of its own
    uint16_t kernel_queues;  // queue pairs of the TAP: one per worker, at most 16 (the PMD's limit)
    bool rss = false;  // the device gives all packets of a flow to one queue; else workers hand flows over
    std::string wire_interface;  // kernel interface below the device (net_af_xdp, net_af_packet); else ""
};

/// Index into this is NextHop::port. At most kMaxPorts.
struct Ports {
    std::vector<Port> list;
    rte_mempool* pool = nullptr;

    /// The port with this DPDK device (rte_mbuf::port); the first one if there is none.
    [[nodiscard]] uint8_t index_of(uint16_t device) const {
        for (size_t i = 0; i < list.size(); i++)
            if (list[i].device == device) return static_cast<uint8_t>(i);
        return 0;
    }
};

/// Makes the devices that the profile names, gives each its TAP with the same MAC, starts them.
/// Errors name the port and the device string. `queues` = number of workers.
Result<Ports> open_ports(const Profile& profile, uint16_t queues);
/// Stops and removes the devices; the TAPs disappear from the kernel. Workers must have ended.
void close_ports(Ports& ports);

}  // namespace keyrail
