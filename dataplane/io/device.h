// SPDX-License-Identifier: Apache-2.0
// A DPDK device by its string, from its name to running queues: a PCI address or a virtual device with its
// arguments ("net_af_xdp0,iface=front0"). Errors are one sentence; the caller adds which port it was.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/common/result.h"

struct rte_mempool;

namespace keyrail {

struct Queues {
    uint16_t rx, tx, descriptors;  // descriptors of each queue; the device may have fewer
};

/// Value of `key=` in a device string, "" where there is none.
std::string device_argument(const std::string& device, const std::string& key);
/// The kernel's interface below the device (net_af_xdp, net_af_packet), or "".
std::string wire_interface(const std::string& device);

/// Makes the device, its kernel interface up first. Returns DPDK's port id.
Result<uint16_t> probe_device(const std::string& device);
Result<void> start_device(uint16_t id, const Queues& queues, rte_mempool* pool);
/// Stops it; a virtual one is removed. An id that is none is passed over.
void close_device(uint16_t id);

}  // namespace keyrail
