// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/check_routes.h"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/route/rule.h>
#include <sys/socket.h>

#include <vector>

#include "dataplane/common/check_mark.h"

namespace keyrail {
namespace {

constexpr uint32_t kFirst = 100, kChecks = 40000, kBlade = 40001, kNobody = 40002;
using NlRule = std::unique_ptr<rtnl_rule, NetlinkFree<rtnl_rule_put>>;

/// fe80::4b52:<id>: nobody else makes such a one of a MAC (RFC 4291 appendix A has ff:fe in the middle).
IpAddress made_up(BladeId blade) {
    IpAddress address{.family = AF_INET6};
    const uint32_t mark = check_mark(blade);
    address.bytes[0] = 0xfe;
    address.bytes[1] = 0x80;
    for (size_t i = 0; i < sizeof mark; i++)
        address.bytes[12 + i] = static_cast<uint8_t>(mark >> (8 * (sizeof mark - 1 - i)));
    return address;
}

NlRoute route_to(BladeId blade, uint8_t family, const IpAddress& gateway, int ifindex) {
    NlRoute route = make_route({IpAddress{.family = family}, 0}, nullptr, 0);
    rtnl_route_set_table(route.get(), check_mark(blade));
    rtnl_route_set_type(route.get(), RTN_UNICAST);
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    const NlAddress via = to_netlink(gateway);
    rtnl_route_nh_set_ifindex(hop, ifindex);
    if (gateway.family == family)
        rtnl_route_nh_set_gateway(hop, via.get());
    else
        rtnl_route_nh_set_via(hop, via.get());
    rtnl_route_add_nexthop(route.get(), hop);
    return route;
}

NlNeighbour neighbour_for(BladeId blade, const CheckRoutes::Way& way) {
    NlNeighbour neighbour(rtnl_neigh_alloc());
    const NlAddress address = to_netlink(made_up(blade));
    const MacAddress mac = way.hop.mac();
    const NlAddress link(nl_addr_build(AF_LLC, mac.data(), mac.size()));
    rtnl_neigh_set_ifindex(neighbour.get(), way.blade.ifindex);
    rtnl_neigh_set_family(neighbour.get(), AF_INET6);
    rtnl_neigh_set_dst(neighbour.get(), address.get());
    rtnl_neigh_set_lladdr(neighbour.get(), link.get());
    rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
    return neighbour;
}

}  // namespace

void CheckRoutes::rule(uint8_t family, uint32_t priority, uint32_t mark, uint32_t mask, uint8_t action,
                       uint32_t to, bool wanted) {
    const NlRule rule(rtnl_rule_alloc());
    rtnl_rule_set_family(rule.get(), family);
    rtnl_rule_set_prio(rule.get(), priority);
    rtnl_rule_set_mark(rule.get(), mark);
    rtnl_rule_set_mask(rule.get(), mask);
    rtnl_rule_set_action(rule.get(), action);
    rtnl_rule_set_protocol(rule.get(), kRouteProtocol);
    if (action == FR_ACT_GOTO) rtnl_rule_set_goto(rule.get(), to);
    if (action == FR_ACT_TO_TBL) rtnl_rule_set_table(rule.get(), to);
    nl_msg* message = nullptr;
    const int code = wanted ? rtnl_rule_build_add_request(rule.get(), NLM_F_CREATE | NLM_F_EXCL, &message)
                            : rtnl_rule_build_delete_request(rule.get(), 0, &message);
    if (code == 0) send_(NlMessage(message));
}

/// The last one first: there is no moment in which a check would find another way.
void CheckRoutes::begin(uint8_t family) {
    if (!begun_.insert(family).second) return;
    rule(family, kNobody, kCheckMark, kCheckMarkMask, FR_ACT_UNREACHABLE, 0, true);
    rule(family, kChecks, kCheckMark, kCheckMarkMask, FR_ACT_NOP, 0, true);
    rule(family, kFirst, kCheckMark, kCheckMarkMask, FR_ACT_GOTO, kChecks, true);
}

void CheckRoutes::add(BladeId blade, const Way& way, uint8_t family) {
    const bool made_up_one = family == AF_INET6 && !way.blade.address.is_v6();
    if (made_up_one && !way.hop.known()) return;
    nl_msg* message = nullptr;
    if (made_up_one) {
        const NlNeighbour neighbour = neighbour_for(blade, way);
        if (rtnl_neigh_build_add_request(neighbour.get(), NLM_F_CREATE | NLM_F_REPLACE, &message) == 0)
            send_(NlMessage(message));
    }
    const IpAddress gateway = made_up_one ? made_up(blade) : way.blade.address;
    const NlRoute route = route_to(blade, family, gateway, way.blade.ifindex);
    if (rtnl_route_build_add_request(route.get(), NLM_F_CREATE | NLM_F_REPLACE, &message) == 0)
        send_(NlMessage(message));
    rule(family, kBlade, check_mark(blade), UINT32_MAX, FR_ACT_TO_TBL, check_mark(blade), true);
    have_.insert_or_assign({blade, family}, way);
}

void CheckRoutes::remove(BladeId blade, uint8_t family) {
    const auto known = have_.find({blade, family});
    if (known == have_.end()) return;
    const Way& way = known->second;
    rule(family, kBlade, check_mark(blade), UINT32_MAX, FR_ACT_TO_TBL, check_mark(blade), false);
    const bool made_up_one = family == AF_INET6 && !way.blade.address.is_v6();
    const NlRoute route =
        route_to(blade, family, made_up_one ? made_up(blade) : way.blade.address, way.blade.ifindex);
    nl_msg* message = nullptr;
    if (rtnl_route_build_del_request(route.get(), 0, &message) == 0) send_(NlMessage(message));
    if (made_up_one) {
        const NlNeighbour neighbour = neighbour_for(blade, way);
        if (rtnl_neigh_build_delete_request(neighbour.get(), 0, &message) == 0) send_(NlMessage(message));
    }
    have_.erase(known);
}

void CheckRoutes::sync(const std::map<BladeId, Way>& ways, const std::set<uint8_t>& families) {
    for (const uint8_t family : families) begin(family);
    std::vector<std::pair<BladeId, uint8_t>> gone;
    for (const auto& [what, way] : have_)
        if (!ways.contains(what.first) || !families.contains(what.second)) gone.push_back(what);
    for (const auto& [blade, family] : gone) remove(blade, family);
    for (const auto& [blade, way] : ways)
        for (const uint8_t family : families) {
            const auto known = have_.find({blade, family});
            if (known != have_.end() && known->second == way) continue;
            if (known != have_.end() && known->second.blade != way.blade) remove(blade, family);
            add(blade, way, family);
        }
}

}  // namespace keyrail
