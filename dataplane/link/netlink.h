// SPDX-License-Identifier: Apache-2.0
// What the control thread needs of libnl: owners for its objects, addresses to and from our own types.
#pragma once

#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/vlan.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <memory>
#include <optional>

#include "dataplane/common/address.h"

namespace keyrail {

/// rtm_protocol of every route that keyrail-dp makes: tells its own from others', also after it was killed.
inline constexpr uint8_t kRouteProtocol = 75;

template <auto Free>
struct NetlinkFree {
    template <typename T>
    void operator()(T* object) const {
        Free(object);
    }
};
using NlSocket = std::unique_ptr<nl_sock, NetlinkFree<nl_socket_free>>;
using NlAddress = std::unique_ptr<nl_addr, NetlinkFree<nl_addr_put>>;
using NlMessage = std::unique_ptr<nl_msg, NetlinkFree<nlmsg_free>>;
using NlRoute = std::unique_ptr<rtnl_route, NetlinkFree<rtnl_route_put>>;
using NlNeighbour = std::unique_ptr<rtnl_neigh, NetlinkFree<rtnl_neigh_put>>;
using NlLink = std::unique_ptr<rtnl_link, NetlinkFree<rtnl_link_put>>;
using NlInterfaceAddress = std::unique_ptr<rtnl_addr, NetlinkFree<rtnl_addr_put>>;

/// A connected rtnetlink socket.
Result<NlSocket> open_netlink();
/// One that is read when something has come: it does not block, and expects no acknowledgements.
Result<NlSocket> open_netlink_to_follow();

NlAddress to_netlink(const Prefix& prefix);
NlAddress to_netlink(const IpAddress& address);
/// nullopt when it is no IP address, or null.
std::optional<Prefix> from_netlink(const nl_addr* address);

/// A unicast route through `gateway` on an interface, or, without one, a blackhole.
NlRoute make_route(const Prefix& destination, const IpAddress* gateway, int ifindex);

}  // namespace keyrail
