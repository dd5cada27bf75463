// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/kernel_wishes.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace keyrail {

Result<void> KernelWishes::open() {
    auto opened = open_netlink_to_follow();
    if (!opened) return tl::make_unexpected(opened.error());
    socket_ = std::move(*opened);
    auto on_error = [](sockaddr_nl*, nlmsgerr* error, void*) {
        // Not worth a log line: what is there or gone already, a neighbour of a TAP that is down.
        const int code = -error->error;
        if (code != 0 && code != EEXIST && code != ESRCH && code != ENOENT && code != ENETDOWN) {
            SPDLOG_WARN("the kernel refused a netlink request: {}", strerror(code));
        }
        return static_cast<int>(NL_SKIP);
    };
    nl_socket_modify_err_cb(socket_.get(), NL_CB_CUSTOM, on_error, nullptr);
    return {};
}

void KernelWishes::send(const NlMessage& message) {
    const int code = nl_send_auto(socket_.get(), message.get());
    if (code < 0) SPDLOG_WARN("netlink request not sent: {}", nl_geterror(code));
}

void KernelWishes::receive_errors() {
    while (nl_recvmsgs_default(socket_.get()) >= 0) {
    }
}

// --- the blades ---

void KernelWishes::set_blades(std::span<const BladeAddress> blades) {
    std::vector<Blade> before = std::exchange(blades_, {});
    for (const BladeAddress& blade : blades) {
        const auto same = std::ranges::find_if(
            before, [&](const Blade& old) { return old.id == blade.id && old.address == blade.address; });
        if (same != before.end()) {
            blades_.push_back(*same);
            before.erase(same);
        } else {
            blades_.push_back({blade.id, blade.address, {}});
        }
    }
    // Gone, or another machine under the same id: nothing may go to the old one any more.
    for (const Blade& old : before) shared_.blade_hop[old.id].store({});
    place();  // holds the new ones first: a neighbour that two entries share is not lost in between
    for (const Blade& old : before) {
        if (old.key) tables_.release(*old.key);
    }
}

void KernelWishes::hop_changed(const NeighbourKey& key, const NextHop& hop) {
    for (const Blade& blade : blades_) {
        if (blade.key == key) shared_.blade_hop[blade.id].store(hop);
    }
    sync_checks();
}

void KernelWishes::sync_checks() {
    std::map<BladeId, CheckRoutes::Way> ways;
    for (const Blade& blade : blades_)
        if (blade.key) ways.emplace(blade.id, CheckRoutes::Way{*blade.key, tables_.hop_of(*blade.key)});
    std::set<uint8_t> families;
    for (const Prefix& vip : vips_) families.insert(vip.address.family);
    checks_.sync(ways, families);
}

void KernelWishes::refresh_stale() {
    for (const NeighbourKey& key : tables_.to_refresh()) refresh(key);
}

void KernelWishes::set_vips(std::span<const IpAddress> vips) {
    vips_.clear();
    for (const IpAddress& vip : vips) vips_.insert({vip, vip.bits()});
    has_vips_ = true;
    fix_blackholes();
    sync_checks();
}

void KernelWishes::place() {
    std::vector<BladeId> lost;
    for (Blade& blade : blades_) {
        const auto ifindex = tables_.on_link(blade.address);
        const auto key = ifindex ? std::optional(NeighbourKey{*ifindex, blade.address}) : std::nullopt;
        if (!key) lost.push_back(blade.id);
        if (key == blade.key) continue;
        if (key) tables_.hold(*key);
        if (blade.key) tables_.release(*blade.key);
        blade.key = key;
        shared_.blade_hop[blade.id].store(key ? tables_.hop_of(*key) : NextHop{});
        if (key && tables_.unsettled(*key)) refresh(*key);
    }
    for (const BladeId id : lost) {
        if (std::ranges::find(unreachable_, id) != unreachable_.end()) continue;
        SPDLOG_WARN(
            "blade {}: its address is in no network that a port is connected to; correct the blade's address "
            "or the profile's",
            id);
    }
    unreachable_ = std::move(lost);
    note_mtus();
    sync_checks();
}

void KernelWishes::refresh(const NeighbourKey& key) {
    const NlNeighbour neighbour(rtnl_neigh_alloc());
    const NlAddress address = to_netlink(key.address);
    rtnl_neigh_set_ifindex(neighbour.get(), key.ifindex);
    rtnl_neigh_set_dst(neighbour.get(), address.get());
    rtnl_neigh_set_flags(neighbour.get(), NTF_USE);  // as if the kernel itself had a packet for it
    nl_msg* message = nullptr;
    if (rtnl_neigh_build_add_request(neighbour.get(), NLM_F_CREATE, &message) == 0) send(NlMessage(message));
}

void KernelWishes::set_blackhole(const Prefix& prefix, bool wanted) {
    const NlRoute route = make_route(prefix, nullptr, 0);
    nl_msg* message = nullptr;
    const int code = wanted
                         ? rtnl_route_build_add_request(route.get(), NLM_F_CREATE | NLM_F_REPLACE, &message)
                         : rtnl_route_build_del_request(route.get(), 0, &message);
    if (code == 0) send(NlMessage(message));
}

void KernelWishes::fix_blackholes() {
    if (!has_vips_) return;  // those of a killed predecessor protect until the first snapshot
    const std::set<Prefix>& have = tables_.own_blackholes();
    for (const Prefix& prefix : vips_) {
        if (!have.contains(prefix)) set_blackhole(prefix, true);
    }
    for (const Prefix& prefix : have) {
        if (!vips_.contains(prefix)) set_blackhole(prefix, false);
    }
}

/// A SYN-ACK is made before the blade is known: the least counts.
void KernelWishes::note_mtus() {
    uint32_t least = kUsualMtu;
    for (const Blade& blade : blades_)
        if (const uint32_t mtu = tables_.mtu_to(blade.address); mtu != 0) least = std::min(least, mtu);
    shared_.backplane_mtu = std::max(least, kLeastMtu);
}

}  // namespace keyrail
