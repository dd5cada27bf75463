// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/route_follower.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace keyrail {
namespace {

constexpr int kEventBuffer = 8 << 20;  // a BGP session that comes up is a burst of a million messages
constexpr rtnetlink_groups kGroups[] = {RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE,  RTNLGRP_IPV6_ROUTE,
                                        RTNLGRP_LINK,  RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR};

struct DumpStep {
    int type, family;
};
constexpr DumpStep kDumpSteps[] = {
    {RTM_GETLINK, AF_UNSPEC}, {RTM_GETNEIGH, AF_UNSPEC}, {RTM_GETROUTE, AF_INET}, {RTM_GETROUTE, AF_INET6}};
static_assert(std::size(kDumpSteps) == RouteFollower::kNoDump);

NlMessage request(int type, int flags, const void* header, size_t size) {
    NlMessage message(nlmsg_alloc_simple(type, flags));
    nlmsg_append(message.get(), const_cast<void*>(header), size, NLMSG_ALIGNTO);
    return message;
}

uint32_t mtu_of(rtnl_route* route) {
    unsigned mtu = 0;
    return rtnl_route_get_metric(route, RTAX_MTU, &mtu) == 0 ? mtu : 0;
}

}  // namespace

Result<void> RouteFollower::open() {
    auto opened = open_netlink_to_follow();
    if (!opened) return tl::make_unexpected(opened.error());
    socket_ = std::move(*opened);
    // Not nl_socket_set_buffer_size: the system's limit for it is far too low.
    setsockopt(descriptor(), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBuffer, sizeof kEventBuffer);
    for (const rtnetlink_groups group : kGroups) {
        const int code = nl_socket_add_membership(socket_.get(), group);
        if (code < 0) return fail("netlink group {}: {}", static_cast<int>(group), nl_geterror(code));
    }
    auto on_event = [](nl_msg* message, void* self) {
        static_cast<RouteFollower*>(self)->on_message(message);
        return static_cast<int>(NL_OK);
    };
    auto on_done = [](nl_msg*, void* self) {
        static_cast<RouteFollower*>(self)->dump_step_done();
        return static_cast<int>(NL_OK);
    };
    auto on_interrupted = [](nl_msg*, void* self) {
        static_cast<RouteFollower*>(self)->dump_again_ = true;
        return static_cast<int>(NL_OK);
    };
    nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_event, this);
    nl_socket_modify_cb(socket_.get(), NL_CB_FINISH, NL_CB_CUSTOM, on_done, this);
    nl_socket_modify_cb(socket_.get(), NL_CB_DUMP_INTR, NL_CB_CUSTOM, on_interrupted, this);
    request_dump();
    return {};
}

// --- dumps ---

void RouteFollower::request_dump() {
    if (dump_ != kNoDump) {
        dump_again_ = true;
        return;
    }
    dump_again_ = false;
    dump_ = 0;
    tables_.begin_dump();
    next_dump_step();
}

void RouteFollower::next_dump_step() {
    const DumpStep& step = kDumpSteps[dump_];
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
    const int code = nl_send_auto(socket_.get(), message.get());
    if (code < 0) SPDLOG_ERROR("netlink dump not sent: {}", nl_geterror(code));
}

void RouteFollower::dump_step_done() {
    if (dump_ == kNoDump) return;
    if (++dump_ != kNoDump) return next_dump_step();
    // What was missed may be the very entries that look gone now: only a dump without a gap may forget.
    if (dump_again_) return request_dump();
    tables_.end_dump();
}

// --- events ---

void RouteFollower::on_neighbour(nlmsghdr* header) {
    rtnl_neigh* parsed = nullptr;
    if (rtnl_neigh_parse(header, &parsed) < 0) return;
    const NlNeighbour neighbour(parsed);
    const auto address = from_netlink(rtnl_neigh_get_dst(parsed));
    if (!address || (rtnl_neigh_get_flags(parsed) & NTF_PROXY) != 0) return;
    const NeighbourKey key{rtnl_neigh_get_ifindex(parsed), address->address};
    if (header->nlmsg_type == RTM_DELNEIGH) return tables_.neighbour_gone(key);

    MacAddress mac;
    const nl_addr* link = rtnl_neigh_get_lladdr(parsed);
    const bool has_mac = link != nullptr && nl_addr_get_len(link) == mac.size();
    if (has_mac) std::memcpy(mac.data(), nl_addr_get_binary_addr(link), mac.size());
    tables_.neighbour(key, std::max(rtnl_neigh_get_state(parsed), 0), has_mac ? &mac : nullptr);
}

void RouteFollower::on_route(nlmsghdr* header) {
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
        if ((rtnl_route_nh_get_flags(hop) & RTNH_F_DEAD) != 0 ||
            !tables_.ours(rtnl_route_nh_get_ifindex(hop)))
            continue;
        event.ifindex = rtnl_route_nh_get_ifindex(hop);
        if (const auto via = from_netlink(rtnl_route_nh_get_gateway(hop))) event.gateway = via->address;
        break;
    }
    if (header->nlmsg_type == RTM_NEWROUTE) {
        tables_.route(event);
    } else {
        tables_.route_gone(event);
    }
}

/// The index of what `below` has and one tag more; nothing when it cannot be had: then the kernel forwards.
std::optional<uint8_t> RouteFollower::tag_stack(uint8_t below, uint16_t protocol, uint16_t vlan) {
    TagStack tags = shared_.tag_stacks[below];
    if (tags.size + size_t{4} > tags.bytes.size()) return {};
    const uint16_t words[] = {protocol, htons(vlan)};  // of the tag; libnl gives the protocol as it lies
    std::memcpy(&tags.bytes[tags.size], words, sizeof words);
    tags.size = static_cast<uint8_t>(tags.size + sizeof words);
    for (size_t i = 1; i < kMaxTagStacks; ++i) {
        TagStack& entry = shared_.tag_stacks[i];
        if (entry.size == 0) entry = tags;
        if (entry == tags) return static_cast<uint8_t>(i);
    }
    return {};
}

void RouteFollower::note_mtu(rtnl_link* link) {
    const int ifindex = rtnl_link_get_ifindex(link);
    const auto ours = tables_.link_of(ifindex);
    if (!ours) return;
    const uint32_t mtu = std::max(rtnl_link_get_mtu(link), kLeastMtu);
    tables_.link_mtu(ifindex, mtu);
    if (ours->tags == 0) shared_.port_mtu[ours->port] = mtu;
}

/// A VLAN interface on one of our TAPs is a link of ours. What was heard of it before was not listened to.
void RouteFollower::on_link(nl_msg* message) {
    const auto take = [](nl_object* object, void* into) {
        nl_object_get(object);
        static_cast<NlLink*>(into)->reset(reinterpret_cast<rtnl_link*>(object));
    };
    NlLink link;
    if (nl_msg_parse(message, take, &link) < 0 || !link) return;
    note_mtu(link.get());
    if (rtnl_link_is_vlan(link.get()) == 0) return;
    const auto below = tables_.link_of(rtnl_link_get_link(link.get()));
    if (!below) return;
    const auto tags = tag_stack(below->tags, static_cast<uint16_t>(rtnl_link_vlan_get_protocol(link.get())),
                                static_cast<uint16_t>(rtnl_link_vlan_get_id(link.get())));
    if (tags && tables_.link(rtnl_link_get_ifindex(link.get()), {below->port, *tags})) request_dump();
    note_mtu(link.get());
}

void RouteFollower::on_message(nl_msg* message) {
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
            if (tables_.ours(link->ifi_index) && link->ifi_change != 0) request_dump();
            return on_link(message);
        }
        case RTM_DELLINK:
            if (tables_.link_gone(static_cast<const ifinfomsg*>(nlmsg_data(header))->ifi_index))
                request_dump();
            return;
        case RTM_DELADDR:  // likewise for routes through a gateway that was reached by this address
            return request_dump();
        default:
            return;
    }
}

void RouteFollower::receive() {
    for (;;) {
        const int code = nl_recvmsgs_default(socket_.get());
        if (code == -NLE_AGAIN) break;
        if (code == -NLE_NOMEM) {  // ENOBUFS: events were lost
            request_dump();
        } else if (code < 0 && code != -NLE_INTR && code != -NLE_DUMP_INTR) {
            SPDLOG_WARN("netlink: {}", nl_geterror(code));
            break;
        }
    }
    tables_.settle();
}

}  // namespace keyrail
