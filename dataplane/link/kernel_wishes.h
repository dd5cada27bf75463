// SPDX-License-Identifier: Apache-2.0
// What keyrail-dp wants of the kernel: that it resolves the blades and gateways, and leaves the VIPs alone
// (blackhole routes). A netlink socket of its own carries requests that nobody waits for.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <vector>

#include "dataplane/common/ids.h"
#include "dataplane/core/shared.h"
#include "dataplane/link/check_routes.h"
#include "dataplane/link/kernel_routes.h"
#include "dataplane/link/kernel_tables.h"
#include "dataplane/link/netlink.h"

namespace keyrail {

class KernelWishes {
  public:
    KernelWishes(KernelTables& tables, Shared& shared) : tables_(tables), shared_(shared) {}
    /// Leaves the blackhole routes, see KernelRoutes.
    ~KernelWishes() = default;
    KernelWishes(const KernelWishes&) = delete;
    KernelWishes& operator=(const KernelWishes&) = delete;

    Result<void> open();
    [[nodiscard]] int descriptor() const { return nl_socket_get_fd(socket_.get()); }
    void receive_errors();

    void set_blades(std::span<const BladeAddress> blades);
    void set_vips(std::span<const IpAddress> vips);
    /// The tables have changed: finds the blades in them anew.
    void place();
    void hop_changed(const NeighbourKey& key, const NextHop& hop);
    /// Makes blackholes for the VIPs, and removes others of ours. Not while the tables are being read.
    void fix_blackholes();
    /// Has the kernel check neighbours that went stale.
    void refresh_stale();
    [[nodiscard]] const std::vector<BladeId>& unreachable() const { return unreachable_; }

  private:
    struct Blade {
        BladeId id;
        IpAddress address;
        std::optional<NeighbourKey> key;
    };
    void send(const NlMessage& message);
    void refresh(const NeighbourKey& key);
    void set_blackhole(const Prefix& prefix, bool wanted);
    void note_mtus();
    void sync_checks();

    KernelTables& tables_;
    Shared& shared_;
    NlSocket socket_;
    std::vector<Blade> blades_;
    std::vector<BladeId> unreachable_;
    std::set<Prefix> vips_;
    bool has_vips_ = false;  // a snapshot came: blackholes that it does not want are stale
    CheckRoutes checks_{[this](const NlMessage& message) { send(message); }};
};

}  // namespace keyrail
