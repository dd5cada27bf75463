// SPDX-License-Identifier: Apache-2.0
// The kernel's routes and neighbours as the workers see them: destination address -> NextHop.
//
// The kernel of the dispatcher decides everything here: `link/kernel_routes` follows its tables by netlink
// and writes them into DPDK FIBs (rte_fib, rte_fib6). A neighbour is a host route. A destination whose
// neighbour the kernel has not resolved yet looks up as unknown: such a packet is punted, the kernel resolves
// and forwards it, and netlink tells us the answer. So there is no ARP or ND code here, and no cache of our
// own that could go stale.
//
// Routes point to hops by id; a hop is one word that is replaced atomically. So a gateway whose MAC changes
// costs one store, however many routes lead through it.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/common/result.h"
#include "dataplane/tables/next_hop.h"

struct rte_rcu_qsbr;

namespace keyrail {

using HopId = uint16_t;
inline constexpr HopId kUnknownHop = 0;   // always unknown: "punt it"
inline constexpr HopId kMaxHops = 32767;  // what two-byte FIB entries can name

class Routes {
  public:
    /// Allocates the FIBs from DPDK's heap (EAL must be up): 75 MB, and half a KB for each of `max_routes`,
    /// which counts for each IP version. At most one Routes per process. `rcu` = where workers report
    /// quiescent states; null where nobody looks up while the tables change.
    static Result<std::unique_ptr<Routes>> create(uint32_t max_routes, rte_rcu_qsbr* rcu = nullptr);
    ~Routes();
    Routes(const Routes&) = delete;
    Routes& operator=(const Routes&) = delete;

    // --- workers: wait-free ---
    /// `address` as it lies in the packet (network order). Unknown destinations give a NextHop that is
    /// not known.
    [[nodiscard]] NextHop lookup4(uint32_t address) const;
    /// The same for a burst, at most 64: one call, and the table's lines come side by side.
    void lookup4(std::span<const uint32_t> addresses, std::span<NextHop> hops) const;
    [[nodiscard]] NextHop lookup6(const uint8_t address[16]) const;

    // --- control thread only ---
    /// A new hop, unknown until set. Fails when all ids are in use.
    Result<HopId> make_hop();
    void set_hop(HopId hop, const NextHop& to);
    /// No route may lead to it any more.
    void free_hop(HopId hop);

    /// Adds or replaces a route.
    Result<void> set4(in_addr prefix, uint8_t length, HopId hop);
    Result<void> set6(const in6_addr& prefix, uint8_t length, HopId hop);
    /// The same with a hop of the route's own.
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
