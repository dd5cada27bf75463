// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/netlink.h"

#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace keyrail {

Result<NlSocket> open_netlink() {
    NlSocket socket(nl_socket_alloc());
    if (!socket) return fail("no memory for a netlink socket");
    if (const int code = nl_connect(socket.get(), NETLINK_ROUTE); code < 0) {
        return fail("netlink is not available: {}", nl_geterror(code));
    }
    return socket;
}

Result<NlSocket> open_netlink_to_follow() {
    constexpr size_t kMessageBuffer = 128 << 10;
    auto socket = open_netlink();
    if (!socket) return socket;
    nl_socket_set_nonblocking(socket->get());
    nl_socket_disable_auto_ack(socket->get());
    nl_socket_disable_seq_check(socket->get());
    nl_socket_set_msg_buf_size(socket->get(), kMessageBuffer);
    return socket;
}

NlAddress to_netlink(const Prefix& prefix) {
    NlAddress address(
        nl_addr_build(prefix.address.family, prefix.address.bytes.data(), prefix.address.size()));
    nl_addr_set_prefixlen(address.get(), prefix.length);
    return address;
}

NlAddress to_netlink(const IpAddress& address) { return to_netlink(Prefix{address, address.bits()}); }

std::optional<Prefix> from_netlink(const nl_addr* address) {
    if (address == nullptr) return std::nullopt;
    const int family = nl_addr_get_family(address);
    if (family != AF_INET && family != AF_INET6) return std::nullopt;
    Prefix prefix{.address = {.family = static_cast<uint8_t>(family)},
                  .length = static_cast<uint8_t>(nl_addr_get_prefixlen(address))};
    // A default route has an address of no bytes.
    const size_t size = std::min<size_t>(nl_addr_get_len(address), prefix.address.bytes.size());
    std::memcpy(prefix.address.bytes.data(), nl_addr_get_binary_addr(address), size);
    return prefix;
}

NlRoute make_route(const Prefix& destination, const IpAddress* gateway, int ifindex) {
    NlRoute route(rtnl_route_alloc());
    rtnl_route_set_family(route.get(), destination.address.family);
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    rtnl_route_set_protocol(route.get(), kRouteProtocol);
    rtnl_route_set_type(route.get(), gateway != nullptr ? RTN_UNICAST : RTN_BLACKHOLE);
    const NlAddress to = to_netlink(destination);
    rtnl_route_set_dst(route.get(), to.get());
    if (gateway != nullptr) {
        rtnl_nexthop* hop = rtnl_route_nh_alloc();
        const NlAddress via = to_netlink(*gateway);
        rtnl_route_nh_set_ifindex(hop, ifindex);
        rtnl_route_nh_set_gateway(hop, via.get());
        rtnl_route_add_nexthop(route.get(), hop);
    }
    return route;
}

}  // namespace keyrail
