// SPDX-License-Identifier: Apache-2.0
// Follows the kernel's neighbours and routes by netlink and writes what the workers need of them: Routes and
// Shared::blade_hop. Also keeps the blades and gateways resolved, and the VIPs out of the kernel's hands
// (blackhole routes: what a worker punts must never be answered with a reset or an ICMP error).
//
// Nothing here blocks except `start`. All of it runs on the control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/common/address.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"
#include "dataplane/core/shared.h"
#include "dataplane/io/ports.h"

namespace keyrail {

struct BladeAddress {
    BladeId id = 0;
    IpAddress address;  // on the backplane: in a prefix that a TAP is connected to
};

class KernelRoutes {
  public:
    /// Reads the kernel's tables once, then follows them. `ports` and `shared` must outlive it.
    static Result<std::unique_ptr<KernelRoutes>> start(const Ports& ports, Shared& shared);
    /// Leaves the blackhole routes: clients' packets come all the same, to the kernel while nobody has the
    /// ports, and to the TAPs until the next keyrail-dp has its first snapshot, which says what is stale.
    ~KernelRoutes();
    KernelRoutes(const KernelRoutes&) = delete;
    KernelRoutes& operator=(const KernelRoutes&) = delete;

    /// File descriptors to wait for; call `on_readable` when one of them is.
    [[nodiscard]] std::vector<int> descriptors() const;
    void on_readable();
    /// Once per second: asks the kernel to resolve blades and gateways, and to check neighbours that went
    /// stale.
    void tick();

    /// Of the current snapshot. Blades that are in no connected prefix stay unknown; `unreachable` tells
    /// which.
    void set_blades(std::span<const BladeAddress> blades);
    void set_vips(std::span<const IpAddress> vips);
    [[nodiscard]] const std::vector<BladeId>& unreachable() const;

  private:
    KernelRoutes();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
