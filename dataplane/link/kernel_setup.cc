// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/kernel_setup.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dataplane/link/netlink.h"

namespace keyrail {
namespace {

Result<void> set_sysctl(const std::string& key, std::string_view value) {
    const std::string path = "/proc/sys/net/" + key;
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    const bool good = fd >= 0 && write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
    const int error = errno;
    if (fd >= 0) close(fd);
    // A kernel without IPv6 has no such file; if the profile has IPv6 addresses, adding them fails and says
    // so.
    if (good || (error == ENOENT && key.starts_with("ipv6/"))) return {};
    return fail("{} cannot be set to {}: {}", path, value, strerror(error));
}

struct Sysctl {
    const char *key, *value;
};

// rp_filter: the effective value is the maximum of `all` and the interface's.
constexpr Sysctl kGlobal[] = {
    {"ipv4/ip_forward", "1"}, {"ipv4/conf/all/rp_filter", "0"}, {"ipv6/conf/all/forwarding", "1"}};

// Duplicate address detection would keep the addresses unusable for a second after each start.
constexpr Sysctl kTap[] = {{"rp_filter", "0"}, {"accept_redirects", "0"}, {"send_redirects", "0"}};
constexpr Sysctl kTap6[] = {{"accept_redirects", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}};

// The kernel sees AF_PACKET's frames as well, and may send its own through either: it must answer no ARP
// there, take no packet (strict reverse path: every source is reached through a TAP) and make no IPv6 address
// of its own.
constexpr Sysctl kWire[] = {{"arp_ignore", "8"}, {"rp_filter", "1"}, {"forwarding", "0"}};
constexpr Sysctl kWire6[] = {{"disable_ipv6", "1"}};

template <size_t N>
Result<void> set_all(const std::string& prefix, const Sysctl (&list)[N]) {
    for (const Sysctl& sysctl : list) {
        if (auto good = set_sysctl(prefix + sysctl.key, sysctl.value); !good) return good;
    }
    return {};
}

Result<void> set_for_interface(const Port& port, const std::string& tap) {
    auto good = set_all("ipv4/conf/" + tap + "/", kTap);
    if (good) good = set_all("ipv6/conf/" + tap + "/", kTap6);
    if (port.wire_interface.empty()) return good;
    if (good) good = set_all("ipv4/conf/" + port.wire_interface + "/", kWire);
    if (good) good = set_all("ipv6/conf/" + port.wire_interface + "/", kWire6);
    return good;
}

Result<void> add_address(nl_sock* socket, int ifindex, const std::string& text) {
    const auto prefix = parse_prefix(text);
    if (!prefix) return tl::make_unexpected(prefix.error());
    const NlInterfaceAddress address(rtnl_addr_alloc());
    const NlAddress local = to_netlink(*prefix);
    rtnl_addr_set_ifindex(address.get(), ifindex);
    rtnl_addr_set_family(address.get(), prefix->address.family);
    if (prefix->address.family == AF_INET6) rtnl_addr_set_flags(address.get(), IFA_F_NODAD);
    int code = rtnl_addr_set_local(address.get(), local.get());
    if (code == 0) code = rtnl_addr_add(socket, address.get(), NLM_F_CREATE | NLM_F_REPLACE);
    if (code < 0) return fail("address {} cannot be added: {}", text, nl_geterror(code));
    return {};
}

Result<void> add_route(nl_sock* socket, int ifindex, const std::string& text) {
    const auto wanted = parse_route(text);
    if (!wanted) return tl::make_unexpected(wanted.error());
    const NlRoute route = make_route(wanted->destination, &wanted->gateway, ifindex);
    const int code = rtnl_route_add(socket, route.get(), NLM_F_CREATE | NLM_F_REPLACE);
    if (code < 0)
        return fail("route '{}' cannot be added: {}; is its gateway on this port?", text, nl_geterror(code));
    return {};
}

Result<void> set_up_port(nl_sock* socket, const PortProfile& profile, const Port& port) {
    if (auto good = set_for_interface(port, profile.kernel_interface); !good) return good;
    for (const std::string& address : profile.addresses) {
        if (auto good = add_address(socket, port.kernel_ifindex, address); !good) return good;
    }
    for (const std::string& route : profile.routes) {
        if (auto good = add_route(socket, port.kernel_ifindex, route); !good) return good;
    }
    return {};
}

}  // namespace

Result<void> set_up_kernel(const Profile& profile, const Ports& ports) {
    auto socket = open_netlink();
    if (!socket) return tl::make_unexpected(socket.error());
    // First: setting the global switch resets every interface's own.
    if (auto good = set_all("", kGlobal); !good) return good;
    for (size_t i = 0; i < ports.list.size(); ++i) {
        if (auto good = set_up_port(socket->get(), profile.ports[i], ports.list[i]); !good) {
            return fail("port {}: {}", profile.ports[i].name, good.error().message);
        }
    }
    return {};
}

}  // namespace keyrail
