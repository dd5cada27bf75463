// SPDX-License-Identifier: Apache-2.0
// Netlink in, KernelTables out. One socket carries the multicast events and the dumps, so that their order is
// the kernel's; another one carries requests that nobody waits for.
#include "dataplane/link/kernel_routes.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>

#include "dataplane/link/kernel_tables.h"
#include "dataplane/link/netlink.h"

namespace keyrail {
namespace {

constexpr int kEventBuffer = 8 << 20;  // a BGP session that comes up is a burst of a million messages
constexpr size_t kMessageBuffer = 128 << 10;
constexpr auto kFirstDumpLimit = std::chrono::seconds(10);
constexpr rtnetlink_groups kGroups[] = {RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE,  RTNLGRP_IPV6_ROUTE,
                                        RTNLGRP_LINK,  RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR};

struct DumpStep {
    int type, family;
};
constexpr DumpStep kDumpSteps[] = {
    {RTM_GETLINK, AF_UNSPEC}, {RTM_GETNEIGH, AF_UNSPEC}, {RTM_GETROUTE, AF_INET}, {RTM_GETROUTE, AF_INET6}};
constexpr size_t kNoDump = std::size(kDumpSteps);

NlMessage request(int type, int flags, const void* header, size_t size) {
    NlMessage message(nlmsg_alloc_simple(type, flags));
    nlmsg_append(message.get(), const_cast<void*>(header), size, NLMSG_ALIGNTO);
    return message;
}

std::vector<int> interfaces_of(const Ports& ports) {
    std::vector<int> list;
    for (const Port& port : ports.list) list.push_back(port.kernel_ifindex);
    return list;
}

uint32_t mtu_of(rtnl_route* route) {
    unsigned mtu = 0;
    return rtnl_route_get_metric(route, RTAX_MTU, &mtu) == 0 ? mtu : 0;
}

}  // namespace

struct KernelRoutes::Impl {
    Shared& shared;
    KernelTables tables;
    NlSocket events, requests;
    size_t dump = kNoDump;    // step that is under way
    bool dump_again = false;  // something was missed since it began
    struct Blade {
        BladeId id;
        IpAddress address;
        std::optional<NeighbourKey> key;
    };
    std::vector<Blade> blades;
    std::vector<BladeId> unreachable;
    std::set<Prefix> vips;
    bool has_vips = false;  // a snapshot came: blackholes that it does not want are stale

    Impl(const Ports& ports, Shared& s) : shared(s), tables(interfaces_of(ports), *s.routes) {}

    void send(const NlMessage& message);
    void next_dump_step();
    void request_dump();
    void dump_step_done();
    void on_message(nl_msg* message);
    void on_neighbour(nlmsghdr* header);
    void on_route(nlmsghdr* header);
    void on_link(nl_msg* message);
    std::optional<uint8_t> tag_stack(uint8_t below, uint16_t protocol, uint16_t vlan);
    void receive_events();
    void receive_errors();
    void place_blades();
    void note_mtus();
    void note_mtu(rtnl_link* link);
    void fix_blackholes();
    void set_blackhole(const Prefix& prefix, bool wanted);
    void refresh(const NeighbourKey& key);
};

void KernelRoutes::Impl::send(const NlMessage& message) {
    const int code = nl_send_auto(requests.get(), message.get());
    if (code < 0) SPDLOG_WARN("netlink request not sent: {}", nl_geterror(code));
}

// --- dumps ---

void KernelRoutes::Impl::request_dump() {
    if (dump != kNoDump) {
        dump_again = true;
        return;
    }
    dump_again = false;
    dump = 0;
    tables.begin_dump();
    next_dump_step();
}

void KernelRoutes::Impl::next_dump_step() {
    const DumpStep& step = kDumpSteps[dump];
    NlMessage message;
    if (step.type == RTM_GETLINK) {
        ifinfomsg header{};
        message = request(step.type, NLM_F_DUMP, &header, sizeof header);
    } else if (step.type == RTM_GETNEIGH) {
        ndmsg header{};
        header.ndm_family = static_cast<uint8_t>(step.family);
        message = request(step.type, NLM_F_DUMP, &header, sizeof header);
    } else {
        rtmsg header{};
        header.rtm_family = static_cast<uint8_t>(step.family);
        message = request(step.type, NLM_F_DUMP, &header, sizeof header);
    }
    const int code = nl_send_auto(events.get(), message.get());
    if (code < 0) SPDLOG_ERROR("netlink dump not sent: {}", nl_geterror(code));
}

void KernelRoutes::Impl::dump_step_done() {
    if (dump == kNoDump) return;
    if (++dump != kNoDump) return next_dump_step();
    // What was missed may be the very entries that look gone now: only a dump without a gap may forget.
    if (dump_again) return request_dump();
    tables.end_dump();
}

// --- events ---

void KernelRoutes::Impl::on_neighbour(nlmsghdr* header) {
    rtnl_neigh* parsed = nullptr;
    if (rtnl_neigh_parse(header, &parsed) < 0) return;
    const NlNeighbour neighbour(parsed);
    const auto address = from_netlink(rtnl_neigh_get_dst(parsed));
    if (!address || (rtnl_neigh_get_flags(parsed) & NTF_PROXY) != 0) return;
    const NeighbourKey key{rtnl_neigh_get_ifindex(parsed), address->address};
    if (header->nlmsg_type == RTM_DELNEIGH) return tables.neighbour_gone(key);

    MacAddress mac;
    const nl_addr* link = rtnl_neigh_get_lladdr(parsed);
    const bool has_mac = link != nullptr && nl_addr_get_len(link) == mac.size();
    if (has_mac) std::memcpy(mac.data(), nl_addr_get_binary_addr(link), mac.size());
    tables.neighbour(key, std::max(rtnl_neigh_get_state(parsed), 0), has_mac ? &mac : nullptr);
}

void KernelRoutes::Impl::on_route(nlmsghdr* header) {
    rtnl_route* parsed = nullptr;
    if (rtnl_route_parse(header, &parsed) < 0) return;
    const NlRoute route(parsed);
    const auto destination = from_netlink(rtnl_route_get_dst(parsed));
    if (!destination || (rtnl_route_get_flags(parsed) & RTM_F_CLONED) != 0) return;
    RouteEvent event{.destination = destination->masked(),
                     .table = rtnl_route_get_table(parsed),
                     .metric = rtnl_route_get_priority(parsed),
                     .type = rtnl_route_get_type(parsed),
                     .protocol = rtnl_route_get_protocol(parsed),
                     .mtu = mtu_of(parsed),
                     .append = (header->nlmsg_flags & NLM_F_APPEND) != 0,
                     .dumped = (header->nlmsg_flags & NLM_F_MULTI) != 0};
    for (int i = 0; i < rtnl_route_get_nnexthops(parsed); ++i) {
        rtnl_nexthop* hop = rtnl_route_nexthop_n(parsed, i);
        if ((rtnl_route_nh_get_flags(hop) & RTNH_F_DEAD) != 0 || !tables.ours(rtnl_route_nh_get_ifindex(hop)))
            continue;
        event.ifindex = rtnl_route_nh_get_ifindex(hop);
        if (const auto via = from_netlink(rtnl_route_nh_get_gateway(hop))) event.gateway = via->address;
        break;
    }
    if (header->nlmsg_type == RTM_NEWROUTE) {
        tables.route(event);
    } else {
        tables.route_gone(event);
    }
}

/// The index of what `below` has and one tag more; nothing when it cannot be had: then the kernel forwards.
std::optional<uint8_t> KernelRoutes::Impl::tag_stack(uint8_t below, uint16_t protocol, uint16_t vlan) {
    TagStack tags = shared.tag_stacks[below];
    if (tags.size + size_t{4} > tags.bytes.size()) return {};
    const uint16_t words[] = {protocol, htons(vlan)};  // of the tag; libnl gives the protocol as it lies
    std::memcpy(&tags.bytes[tags.size], words, sizeof words);
    tags.size = static_cast<uint8_t>(tags.size + sizeof words);
    for (size_t i = 1; i < kMaxTagStacks; ++i) {
        TagStack& entry = shared.tag_stacks[i];
        if (entry.size == 0) entry = tags;
        if (entry == tags) return static_cast<uint8_t>(i);
    }
    return {};
}

void KernelRoutes::Impl::note_mtu(rtnl_link* link) {
    const int ifindex = rtnl_link_get_ifindex(link);
    const auto ours = tables.link_of(ifindex);
    if (!ours) return;
    const uint32_t mtu = std::max(rtnl_link_get_mtu(link), kLeastMtu);
    tables.link_mtu(ifindex, mtu);
    if (ours->tags == 0) shared.port_mtu[ours->port] = mtu;
}

/// A SYN-ACK is made before the blade is known: the least counts.
void KernelRoutes::Impl::note_mtus() {
    uint32_t least = kUsualMtu;
    for (const Blade& blade : blades)
        if (const uint32_t mtu = tables.mtu_to(blade.address); mtu != 0) least = std::min(least, mtu);
    shared.backplane_mtu = std::max(least, kLeastMtu);
}

/// A VLAN interface on one of our TAPs is a link of ours. What was heard of it before was not listened to.
void KernelRoutes::Impl::on_link(nl_msg* message) {
    const auto take = [](nl_object* object, void* into) {
        nl_object_get(object);
        static_cast<NlLink*>(into)->reset(reinterpret_cast<rtnl_link*>(object));
    };
    NlLink link;
    if (nl_msg_parse(message, take, &link) < 0 || !link) return;
    note_mtu(link.get());
    if (rtnl_link_is_vlan(link.get()) == 0) return;
    const auto below = tables.link_of(rtnl_link_get_link(link.get()));
    if (!below) return;
    const auto tags = tag_stack(below->tags, static_cast<uint16_t>(rtnl_link_vlan_get_protocol(link.get())),
                                static_cast<uint16_t>(rtnl_link_vlan_get_id(link.get())));
    if (tags && tables.link(rtnl_link_get_ifindex(link.get()), {below->port, *tags})) request_dump();
    note_mtu(link.get());
}

void KernelRoutes::Impl::on_message(nl_msg* message) {
    nlmsghdr* header = nlmsg_hdr(message);
    switch (header->nlmsg_type) {
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH:
            return on_neighbour(header);
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            return on_route(header);
        case RTM_NEWLINK: {
            // The kernel drops IPv4 routes of an interface that goes down without a word.
            const auto* link = static_cast<const ifinfomsg*>(nlmsg_data(header));
            if (tables.ours(link->ifi_index) && link->ifi_change != 0) request_dump();
            return on_link(message);
        }
        case RTM_DELLINK:
            if (tables.link_gone(static_cast<const ifinfomsg*>(nlmsg_data(header))->ifi_index))
                request_dump();
            return;
        case RTM_DELADDR:  // likewise for routes through a gateway that was reached by this address
            return request_dump();
        default:
            return;
    }
}

void KernelRoutes::Impl::receive_events() {
    for (;;) {
        const int code = nl_recvmsgs_default(events.get());
        if (code == -NLE_AGAIN) break;
        if (code == -NLE_NOMEM) {  // ENOBUFS: events were lost
            request_dump();
        } else if (code < 0 && code != -NLE_INTR && code != -NLE_DUMP_INTR) {
            SPDLOG_WARN("netlink: {}", nl_geterror(code));
            break;
        }
    }
    tables.settle();
    place_blades();
    if (dump == kNoDump) fix_blackholes();
    if (const auto error = tables.take_error()) SPDLOG_ERROR("{}", error->message);
}

void KernelRoutes::Impl::receive_errors() {
    while (nl_recvmsgs_default(requests.get()) >= 0) {
    }
}

// --- blades, VIPs ---

void KernelRoutes::Impl::place_blades() {
    std::vector<BladeId> lost;
    for (Blade& blade : blades) {
        const auto ifindex = tables.on_link(blade.address);
        const auto key = ifindex ? std::optional(NeighbourKey{*ifindex, blade.address}) : std::nullopt;
        if (!key) lost.push_back(blade.id);
        if (key == blade.key) continue;
        if (key) tables.hold(*key);
        if (blade.key) tables.release(*blade.key);
        blade.key = key;
        shared.blade_hop[blade.id].store(key ? tables.hop_of(*key) : NextHop{});
        if (key && tables.unsettled(*key)) refresh(*key);
    }
    for (const BladeId id : lost) {
        if (std::ranges::find(unreachable, id) != unreachable.end()) continue;
        SPDLOG_WARN(
            "blade {}: its address is in no network that a port is connected to; correct the blade's address "
            "or the profile's",
            id);
    }
    unreachable = std::move(lost);
    note_mtus();
}

void KernelRoutes::Impl::refresh(const NeighbourKey& key) {
    const NlNeighbour neighbour(rtnl_neigh_alloc());
    const NlAddress address = to_netlink(key.address);
    rtnl_neigh_set_ifindex(neighbour.get(), key.ifindex);
    rtnl_neigh_set_dst(neighbour.get(), address.get());
    rtnl_neigh_set_flags(neighbour.get(), NTF_USE);  // as if the kernel itself had a packet for it
    nl_msg* message = nullptr;
    if (rtnl_neigh_build_add_request(neighbour.get(), NLM_F_CREATE, &message) == 0) send(NlMessage(message));
}

void KernelRoutes::Impl::set_blackhole(const Prefix& prefix, bool wanted) {
    const NlRoute route = make_route(prefix, nullptr, 0);
    nl_msg* message = nullptr;
    const int code = wanted
                         ? rtnl_route_build_add_request(route.get(), NLM_F_CREATE | NLM_F_REPLACE, &message)
                         : rtnl_route_build_del_request(route.get(), 0, &message);
    if (code == 0) send(NlMessage(message));
}

void KernelRoutes::Impl::fix_blackholes() {
    if (!has_vips) return;  // those of a killed predecessor protect until the first snapshot
    const std::set<Prefix>& have = tables.own_blackholes();
    for (const Prefix& prefix : vips) {
        if (!have.contains(prefix)) set_blackhole(prefix, true);
    }
    for (const Prefix& prefix : have) {
        if (!vips.contains(prefix)) set_blackhole(prefix, false);
    }
}

// --- public ---

KernelRoutes::KernelRoutes() = default;

Result<std::unique_ptr<KernelRoutes>> KernelRoutes::start(const Ports& ports, Shared& shared) {
    std::unique_ptr<KernelRoutes> routes(new KernelRoutes);
    routes->impl_ = std::make_unique<Impl>(ports, shared);
    Impl& impl = *routes->impl_;
    for (NlSocket* socket : {&impl.events, &impl.requests}) {
        auto opened = open_netlink();
        if (!opened) return tl::make_unexpected(opened.error());
        *socket = std::move(*opened);
        nl_socket_set_nonblocking(socket->get());
        nl_socket_disable_auto_ack(socket->get());
        nl_socket_disable_seq_check(socket->get());
        nl_socket_set_msg_buf_size(socket->get(), kMessageBuffer);
    }
    // Not nl_socket_set_buffer_size: the system's limit for it is far too low.
    setsockopt(nl_socket_get_fd(impl.events.get()), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBuffer,
               sizeof kEventBuffer);
    for (const rtnetlink_groups group : kGroups) {
        const int code = nl_socket_add_membership(impl.events.get(), group);
        if (code < 0) return fail("netlink group {}: {}", static_cast<int>(group), nl_geterror(code));
    }
    auto on_event = [](nl_msg* message, void* self) {
        static_cast<Impl*>(self)->on_message(message);
        return static_cast<int>(NL_OK);
    };
    auto on_done = [](nl_msg*, void* self) {
        static_cast<Impl*>(self)->dump_step_done();
        return static_cast<int>(NL_OK);
    };
    auto on_interrupted = [](nl_msg*, void* self) {
        static_cast<Impl*>(self)->dump_again = true;
        return static_cast<int>(NL_OK);
    };
    auto on_error = [](sockaddr_nl*, nlmsgerr* error, void*) {
        // A blackhole that is there or gone already, or a neighbour of a TAP that is down, is no news.
        const int code = -error->error;
        if (code != 0 && code != EEXIST && code != ESRCH && code != ENETDOWN) {
            SPDLOG_WARN("the kernel refused a netlink request: {}", strerror(code));
        }
        return static_cast<int>(NL_SKIP);
    };
    nl_socket_modify_cb(impl.events.get(), NL_CB_VALID, NL_CB_CUSTOM, on_event, &impl);
    nl_socket_modify_cb(impl.events.get(), NL_CB_FINISH, NL_CB_CUSTOM, on_done, &impl);
    nl_socket_modify_cb(impl.events.get(), NL_CB_DUMP_INTR, NL_CB_CUSTOM, on_interrupted, &impl);
    nl_socket_modify_err_cb(impl.requests.get(), NL_CB_CUSTOM, on_error, nullptr);
    impl.tables.on_hop = [&impl](const NeighbourKey& key, const NextHop& hop) {
        for (const Impl::Blade& blade : impl.blades) {
            if (blade.key == key) impl.shared.blade_hop[blade.id].store(hop);
        }
    };

    impl.request_dump();
    const auto limit = std::chrono::steady_clock::now() + kFirstDumpLimit;
    while (impl.dump != kNoDump) {
        if (std::chrono::steady_clock::now() > limit)
            return fail("the kernel does not list its routes in time");
        pollfd wait{.fd = nl_socket_get_fd(impl.events.get()), .events = POLLIN, .revents = 0};
        poll(&wait, 1, 100);
        impl.receive_events();
    }
    return routes;
}

KernelRoutes::~KernelRoutes() {
    if (!impl_ || !impl_->requests) return;
    std::set<Prefix> ours = impl_->tables.own_blackholes();
    ours.insert(impl_->vips.begin(), impl_->vips.end());  // the kernel may not have told of the latest yet
    for (const Prefix& prefix : ours) impl_->set_blackhole(prefix, false);
    impl_->tables.on_hop = nullptr;
}

std::vector<int> KernelRoutes::descriptors() const {
    return {nl_socket_get_fd(impl_->events.get()), nl_socket_get_fd(impl_->requests.get())};
}

void KernelRoutes::on_readable() {
    impl_->receive_errors();
    impl_->receive_events();
}

void KernelRoutes::tick() {
    for (const NeighbourKey& key : impl_->tables.to_refresh()) impl_->refresh(key);
}

void KernelRoutes::set_blades(std::span<const BladeAddress> blades) {
    std::vector<Impl::Blade> before = std::exchange(impl_->blades, {});
    for (const BladeAddress& blade : blades) {
        const auto same = std::ranges::find_if(before, [&](const Impl::Blade& old) {
            return old.id == blade.id && old.address == blade.address;
        });
        if (same != before.end()) {
            impl_->blades.push_back(*same);
            before.erase(same);
        } else {
            impl_->blades.push_back({blade.id, blade.address, {}});
        }
    }
    // Gone, or another machine under the same id: nothing may go to the old one any more.
    for (const Impl::Blade& old : before) impl_->shared.blade_hop[old.id].store({});
    impl_->place_blades();  // holds the new ones first: a neighbour that two entries share is not lost in
                            // between
    for (const Impl::Blade& old : before) {
        if (old.key) impl_->tables.release(*old.key);
    }
}

void KernelRoutes::set_vips(std::span<const IpAddress> vips) {
    impl_->vips.clear();
    for (const IpAddress& vip : vips) impl_->vips.insert({vip, vip.bits()});
    impl_->has_vips = true;
    impl_->fix_blackholes();
}

const std::vector<BladeId>& KernelRoutes::unreachable() const { return impl_->unreachable; }

}  // namespace keyrail
