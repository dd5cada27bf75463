// SPDX-License-Identifier: Apache-2.0
// The kernel's routes and neighbours as the workers see them: destination address -> NextHop.
//
// The kernel of the dispatcher decides everything here: `link/kernel_routes` follows its tables by netlink and writes
// them into DPDK FIBs (rte_fib, rte_fib6). A neighbour is a host route. A destination whose neighbour the kernel
// has not resolved yet looks up as unknown: such a packet is punted, the kernel resolves and forwards it, and netlink
// tells us the answer. So there is no ARP or ND code here, and no cache of our own that could go stale.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <memory>

#include "control/protocol/result.h"
#include "dataplane/next_hop.h"

namespace keyrail {

class Routes {
  public:
    /// Allocates the FIBs from DPDK's heap (EAL must be up).
    static Result<std::unique_ptr<Routes>> create(uint32_t max_routes);
    ~Routes();
    Routes(const Routes&) = delete;
    Routes& operator=(const Routes&) = delete;

    // --- workers ---
    /// `address` as it lies in the packet (network order). Unknown destinations give a NextHop with known == 0.
    [[nodiscard]] NextHop lookup4(uint32_t address) const;
    [[nodiscard]] NextHop lookup6(const uint8_t address[16]) const;

    // --- control thread only ---
    /// Adds or replaces a route. `via` is the hop of a gateway or neighbour; a hop that is not known yet is fine.
    Result<void> set4(in_addr prefix, uint8_t length, const NextHop& via);
    Result<void> set6(const in6_addr& prefix, uint8_t length, const NextHop& via);
    void erase4(in_addr prefix, uint8_t length);
    void erase6(const in6_addr& prefix, uint8_t length);

  private:
    Routes();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
