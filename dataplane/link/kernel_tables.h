// SPDX-License-Identifier: Apache-2.0
// The model of the kernel's neighbour and route tables, fed by netlink events (kernel_routes), which decides
// what goes into the workers' FIBs:
//   local, blackhole, connected, or out of an interface that is not ours -> unknown hop (punt: the kernel's
//   business) through a gateway on one of our TAPs                                 -> the gateway's hop a
//   resolved neighbour that is on-link according to the routes         -> host route with its hop
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "dataplane/common/address.h"
#include "dataplane/tables/routes.h"

namespace keyrail {

struct NeighbourKey {
    int ifindex = 0;
    IpAddress address;
    auto operator<=>(const NeighbourKey&) const = default;
};

/// A link of ours: a port, or a VLAN of it.
struct Link {
    uint8_t port = 0;
    uint8_t tags = 0;  // as in NextHop
    bool operator==(const Link&) const = default;
};

struct RouteEvent {
    Prefix destination;
    uint32_t table = 0;
    uint32_t metric = 0;
    uint8_t type = 0;  // RTN_*
    uint8_t protocol = 0;
    int ifindex = 0;  // 0: none, or several next hops of which none is ours
    std::optional<IpAddress> gateway;
    uint32_t mtu = 0;     // RTAX_MTU; 0: the link's
    bool append = false;  // NLM_F_APPEND: comes after one with the same destination, table and metric
    bool dumped = false;  // from a dump, which lists them in the order of use
};

class KernelTables {
  public:
    /// `interfaces`: ifindex of the TAP of each port, by port number. `routes` must outlive this.
    KernelTables(const std::vector<int>& interfaces, Routes& routes);

    /// A VLAN interface on one of the TAPs, or on another VLAN interface. False: known already.
    bool link(int ifindex, const Link& link);
    /// True: it was one.
    bool link_gone(int ifindex);
    [[nodiscard]] std::optional<Link> link_of(int ifindex) const;

    /// NUD_* state; `mac` null when there is none.
    void neighbour(const NeighbourKey& key, int state, const MacAddress* mac);
    void neighbour_gone(const NeighbourKey& key);
    void route(const RouteEvent& event);
    void route_gone(const RouteEvent& event);

    /// A full dump comes: everything that it does not mention between begin and end is forgotten.
    void begin_dump();
    void end_dump();
    /// After a batch of events: host routes follow changes of what is on-link.
    void settle();

    /// Keeps a neighbour in the table though the kernel may not know it (gateways, blades), and names its
    /// hop.
    void hold(const NeighbourKey& key);
    void release(const NeighbourKey& key);
    [[nodiscard]] NextHop hop_of(const NeighbourKey& key) const;
    /// Which of our TAPs the address is connected to by the kernel's routes.
    [[nodiscard]] std::optional<int> on_link(const IpAddress& address) const;
    /// Longest packet to a connected address, as link and route have it. 0: not known.
    [[nodiscard]] uint32_t mtu_to(const IpAddress& address) const;
    /// The link's MTU, of one of ours.
    void link_mtu(int ifindex, uint32_t mtu) { mtus_[ifindex] = mtu; }
    [[nodiscard]] bool ours(int ifindex) const { return links_.contains(ifindex); }

    /// The kernel should look at it: not known, or stale. (One that is permanent must be let be: asked to
    /// look at it, the kernel forgets it.)
    [[nodiscard]] bool unsettled(const NeighbourKey& key) const;
    /// Neighbours that the kernel should look at: held ones, and known ones that are stale.
    [[nodiscard]] std::vector<NeighbourKey> to_refresh() const;
    /// Called when a neighbour's hop changes.
    std::function<void(const NeighbourKey&, const NextHop&)> on_hop;
    /// Destinations of blackhole routes that keyrail-dp made, in this life or in one that was killed.
    [[nodiscard]] const std::set<Prefix>& own_blackholes() const { return blackholes_; }
    /// The first table-full error since the last call, for the log.
    std::optional<Error> take_error();

  private:
    struct Neighbour {
        HopId hop = kUnknownHop;
        unsigned held = 0;
        NextHop to;
        int state = 0;
        bool in_kernel = false, seen = false;
    };
    struct KernelRoute {
        RouteEvent what;
        bool seen = true;
    };
    struct Destination {
        std::vector<KernelRoute> routes;  // one per table and metric
        std::optional<NeighbourKey> via;  // the gateway that is held for it
        bool installed = false;
        HopId hop = kUnknownHop;
    };
    using Neighbours = std::map<NeighbourKey, Neighbour>;

    Neighbour& at(const NeighbourKey& key);
    void drop_if_unused(Neighbours::iterator neighbour);
    void set_hop(const NeighbourKey& key, Neighbour& neighbour, const NextHop& to);
    [[nodiscard]] static const RouteEvent* best(const Destination& destination);
    [[nodiscard]] std::optional<NeighbourKey> gateway_of(const Destination& destination) const;
    [[nodiscard]] HopId host_hop(const Prefix& prefix) const;
    void apply(const Prefix& prefix);
    void install(const Prefix& prefix, Destination& destination, HopId hop);
    void uninstall(const Prefix& prefix, Destination& destination);

    [[nodiscard]] const RouteEvent* connected_route(const IpAddress& address) const;

    std::map<int, Link> links_;  // by ifindex
    std::map<int, uint32_t> mtus_;
    Routes& routes_;
    Neighbours neighbours_;
    std::map<Prefix, Destination> destinations_;
    std::set<Prefix> blackholes_;
    bool links_changed_ = false;
    std::optional<Error> error_;
};

}  // namespace keyrail
