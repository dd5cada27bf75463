// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/kernel_tables.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "dataplane/link/netlink.h"

namespace keyrail {
namespace {

constexpr int kNudValid = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

Prefix host_prefix(const IpAddress& address) { return {address, address.bits()}; }

bool is_connected(const RouteEvent& route) { return route.type == RTN_UNICAST && !route.gateway; }

/// The kernel looks into the local table first, then takes the lowest metric.
auto preference(const RouteEvent& route) { return std::tuple(route.table != RT_TABLE_LOCAL, route.metric); }

bool same_slot(const RouteEvent& a, const RouteEvent& b) {
    return a.table == b.table && a.metric == b.metric;
}

bool is_own_blackhole(const RouteEvent& route) {
    return route.type == RTN_BLACKHOLE && route.protocol == kRouteProtocol && route.table == RT_TABLE_MAIN;
}

in_addr to_in_addr(const IpAddress& address) {
    in_addr result;
    std::memcpy(&result, address.bytes.data(), sizeof result);
    return result;
}

in6_addr to_in6_addr(const IpAddress& address) {
    in6_addr result;
    std::memcpy(&result, address.bytes.data(), sizeof result);
    return result;
}

}  // namespace

KernelTables::KernelTables(const std::vector<int>& interfaces, Routes& routes) : routes_(routes) {
    for (size_t port = 0; port < interfaces.size(); ++port)
        links_[interfaces[port]] = {.port = static_cast<uint8_t>(port)};
}

bool KernelTables::link(int ifindex, const Link& link) {
    const auto [it, fresh] = links_.try_emplace(ifindex, link);
    const bool changed = fresh || it->second != link;
    it->second = link;
    return changed;
}

bool KernelTables::link_gone(int ifindex) {
    mtus_.erase(ifindex);
    return links_.erase(ifindex) != 0;
}

std::optional<Link> KernelTables::link_of(int ifindex) const {
    const auto it = links_.find(ifindex);
    return it == links_.end() ? std::nullopt : std::optional(it->second);
}

// --- neighbours ---

KernelTables::Neighbour& KernelTables::at(const NeighbourKey& key) {
    auto [it, fresh] = neighbours_.try_emplace(key);
    if (!fresh) return it->second;
    // Without an id the neighbour stays unknown: its packets take the way through the kernel.
    if (auto hop = routes_.make_hop(); hop) {
        it->second.hop = *hop;
    } else {
        error_ = hop.error();
    }
    return it->second;
}

void KernelTables::drop_if_unused(Neighbours::iterator neighbour) {
    if (neighbour == neighbours_.end() || neighbour->second.in_kernel || neighbour->second.held > 0) return;
    const auto [key, gone] = *neighbour;
    neighbours_.erase(neighbour);
    apply(host_prefix(key.address));
    routes_.free_hop(gone.hop);
}

void KernelTables::set_hop(const NeighbourKey& key, Neighbour& neighbour, const NextHop& to) {
    if (neighbour.to.pack() == to.pack()) return;
    neighbour.to = to;
    routes_.set_hop(neighbour.hop, to);
    if (on_hop) on_hop(key, to);
    apply(host_prefix(key.address));
}

void KernelTables::neighbour(const NeighbourKey& key, int state, const MacAddress* mac) {
    const auto link = link_of(key.ifindex);
    if (!link || key.address.is_multicast()) return;
    Neighbour& entry = at(key);
    entry.in_kernel = entry.seen = true;
    entry.state = state;
    NextHop to;
    if (mac != nullptr && (state & kNudValid) != 0) to = NextHop(*mac, link->port, link->tags);
    set_hop(key, entry, to);
}

void KernelTables::neighbour_gone(const NeighbourKey& key) {
    const auto it = neighbours_.find(key);
    if (it == neighbours_.end()) return;
    it->second.in_kernel = false;
    it->second.state = NUD_NONE;
    set_hop(key, it->second, {});
    drop_if_unused(it);
}

void KernelTables::hold(const NeighbourKey& key) { ++at(key).held; }

void KernelTables::release(const NeighbourKey& key) {
    const auto it = neighbours_.find(key);
    if (it == neighbours_.end()) return;
    --it->second.held;
    drop_if_unused(it);
}

NextHop KernelTables::hop_of(const NeighbourKey& key) const {
    const auto it = neighbours_.find(key);
    return it == neighbours_.end() ? NextHop{} : it->second.to;
}

bool KernelTables::unsettled(const NeighbourKey& key) const {
    const auto it = neighbours_.find(key);
    // A reachable one needs nothing; workers use neighbours without the kernel's knowledge, so that a stale
    // one would otherwise be believed for ever.
    return it == neighbours_.end() ||
           (it->second.state & (NUD_REACHABLE | NUD_PERMANENT | NUD_DELAY | NUD_PROBE)) == 0;
}

std::vector<NeighbourKey> KernelTables::to_refresh() const {
    std::vector<NeighbourKey> keys;
    for (const auto& [key, neighbour] : neighbours_)
        if ((neighbour.held > 0 || (neighbour.state & NUD_STALE) != 0) && unsettled(key)) keys.push_back(key);
    return keys;
}

// --- routes ---

const RouteEvent* KernelTables::best(const Destination& destination) {
    const RouteEvent* best = nullptr;
    for (const KernelRoute& route : destination.routes) {
        if (best == nullptr || preference(route.what) < preference(*best)) best = &route.what;
    }
    return best;
}

std::optional<NeighbourKey> KernelTables::gateway_of(const Destination& destination) const {
    const RouteEvent* route = best(destination);
    if (route == nullptr || route->type != RTN_UNICAST || !route->gateway || !ours(route->ifindex)) return {};
    return NeighbourKey{route->ifindex, *route->gateway};
}

const RouteEvent* KernelTables::connected_route(const IpAddress& address) const {
    for (int length = address.bits(); length >= 0; --length) {
        const auto it = destinations_.find(Prefix{address, static_cast<uint8_t>(length)}.masked());
        if (it == destinations_.end()) continue;
        const RouteEvent* route = best(it->second);
        if (route == nullptr) continue;  // a host route that we made of a neighbour
        return is_connected(*route) && ours(route->ifindex) ? route : nullptr;
    }
    return nullptr;
}

std::optional<int> KernelTables::on_link(const IpAddress& address) const {
    const RouteEvent* route = connected_route(address);
    return route != nullptr ? std::optional(route->ifindex) : std::nullopt;
}

uint32_t KernelTables::mtu_to(const IpAddress& address) const {
    const RouteEvent* route = connected_route(address);
    const auto link = route != nullptr ? mtus_.find(route->ifindex) : mtus_.end();
    if (link == mtus_.end()) return 0;
    return route->mtu != 0 ? std::min(route->mtu, link->second) : link->second;
}

HopId KernelTables::host_hop(const Prefix& prefix) const {
    // The same link-local address may live behind every port; it is never forwarded to, only used as a
    // gateway.
    if (prefix.length != prefix.address.bits() || prefix.address.is_link_local()) return kUnknownHop;
    const auto ifindex = on_link(prefix.address);
    if (!ifindex) return kUnknownHop;
    const auto it = neighbours_.find({*ifindex, prefix.address});
    return it != neighbours_.end() && it->second.to.known() ? it->second.hop : kUnknownHop;
}

void KernelTables::install(const Prefix& prefix, Destination& destination, HopId hop) {
    if (destination.installed && destination.hop == hop) return;
    const IpAddress& address = prefix.address;
    const auto done = address.family == AF_INET ? routes_.set4(to_in_addr(address), prefix.length, hop)
                                                : routes_.set6(to_in6_addr(address), prefix.length, hop);
    if (!done) {
        error_ = Error{fmt::format("{}: {}", prefix.text(), done.error().message)};
        return;
    }
    destination.installed = true;
    destination.hop = hop;
}

void KernelTables::uninstall(const Prefix& prefix, Destination& destination) {
    if (!destination.installed) return;
    if (prefix.address.family == AF_INET) {
        routes_.erase4(to_in_addr(prefix.address), prefix.length);
    } else {
        routes_.erase6(to_in6_addr(prefix.address), prefix.length);
    }
    destination.installed = false;
    destination.hop = kUnknownHop;
}

void KernelTables::apply(const Prefix& prefix) {
    const auto it = destinations_.try_emplace(prefix).first;
    const std::optional<NeighbourKey> before = it->second.via;
    const std::optional<NeighbourKey> via = gateway_of(it->second);
    if (via != before && via) hold(*via);
    it->second.via = via;

    const HopId hop = via ? at(*via).hop : host_hop(prefix);
    if (!it->second.routes.empty() || hop != kUnknownHop) {
        install(prefix, it->second, hop);
    } else {
        uninstall(prefix, it->second);
        destinations_.erase(it);
    }
    if (via != before && before) release(*before);
}

void KernelTables::route(const RouteEvent& event) {
    if (event.table != RT_TABLE_MAIN && event.table != RT_TABLE_LOCAL) return;
    if (event.destination.address.is_multicast()) return;
    auto& routes = destinations_[event.destination].routes;
    const auto same = std::ranges::find_if(routes, [&](auto& old) { return same_slot(old.what, event); });
    if (same == routes.end()) {
        routes.push_back({event});
    } else if (event.append || (event.dumped && same->seen)) {
        same->seen = true;  // the kernel goes on using the first
        return;
    } else {
        *same = {event};
    }
    if (is_own_blackhole(event)) blackholes_.insert(event.destination);
    links_changed_ = true;
    apply(event.destination);
}

void KernelTables::route_gone(const RouteEvent& event) {
    const auto it = destinations_.find(event.destination);
    if (it == destinations_.end()) return;
    const auto removed = std::erase_if(it->second.routes, [&](const KernelRoute& old) {
        return same_slot(old.what, event) && old.what.gateway == event.gateway;
    });
    if (removed == 0) return;
    if (is_own_blackhole(event)) blackholes_.erase(event.destination);
    links_changed_ = true;
    apply(event.destination);
}

void KernelTables::settle() {
    if (!links_changed_) return;
    links_changed_ = false;
    std::vector<IpAddress> addresses;
    for (const auto& [key, neighbour] : neighbours_) addresses.push_back(key.address);
    for (const IpAddress& address : addresses) apply(host_prefix(address));
}

// --- dumps ---

void KernelTables::begin_dump() {
    for (auto& [key, neighbour] : neighbours_) neighbour.seen = false;
    for (auto& [prefix, destination] : destinations_) {
        for (KernelRoute& route : destination.routes) route.seen = false;
    }
}

void KernelTables::end_dump() {
    std::vector<NeighbourKey> gone;
    for (const auto& [key, neighbour] : neighbours_) {
        if (neighbour.in_kernel && !neighbour.seen) gone.push_back(key);
    }
    for (const NeighbourKey& key : gone) neighbour_gone(key);

    std::vector<RouteEvent> routes_gone;
    for (const auto& [prefix, destination] : destinations_) {
        for (const KernelRoute& route : destination.routes) {
            if (!route.seen) routes_gone.push_back(route.what);
        }
    }
    for (const RouteEvent& event : routes_gone) route_gone(event);
    settle();
}

std::optional<Error> KernelTables::take_error() { return std::exchange(error_, std::nullopt); }

}  // namespace keyrail
