// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/history/effects.h"

#include <algorithm>
#include <map>
#include <set>

namespace keyrail {

namespace {

std::string sessions_text(uint64_t sessions) {
    return sessions == 1 ? "1 session" : fmt::format("{} sessions", sessions);
}

uint64_t sessions_of(const Blades& blades, BladeId id) {
    const auto found = blades.all().find(id);
    return found == blades.all().end() ? 0 : found->second.sessions;
}

void blade_effects(const Config& now, const Config& next, const Blades& blades,
                   std::vector<Effect>& effects) {
    for (const auto& [id, blade] : now.blades) {
        if (next.blades.contains(id)) continue;
        const uint64_t sessions = sessions_of(blades, id);
        effects.push_back({sessions == 0
                               ? fmt::format("blade {} ({}) goes", id, blade.name)
                               : fmt::format("blade {} ({}) goes: {} end, what it is sending is finished", id,
                                             blade.name, sessions_text(sessions)),
                           sessions == 0 ? Harm::none : Harm::blade_with_sessions, id});
    }
    for (const auto& [id, blade] : next.blades)
        if (!now.blades.contains(id)) effects.push_back({fmt::format("blade {} ({}) comes", id, blade.name)});
}

void pool_effects(const Config& now, const Config& next, const Blades& blades, std::vector<Effect>& effects) {
    for (const auto& [pool, ids] : now.pools) {
        const auto found = next.pools.find(pool);
        if (found == next.pools.end()) continue;
        for (const BladeId id : ids)
            if (next.blades.contains(id) && !std::ranges::binary_search(found->second, id))
                effects.push_back({fmt::format(
                    "blade {} leaves pool {}: {} move when their clients come, what it is sending "
                    "is finished",
                    id, pool, sessions_text(sessions_of(blades, id)))});
        for (const BladeId id : found->second)
            if (!std::ranges::binary_search(ids, id))
                effects.push_back({fmt::format("blade {} joins pool {}", id, pool)});
    }
}

using Vips = std::map<HostPort, std::string>;  // the service of each

Vips vips_of(const Config& config) {
    Vips vips;
    for (const ServiceConfig& service : config.services)
        for (const IpAddress& address : service.addresses) vips[{address, service.port}] = service.name;
    return vips;
}

bool in_use(const Economics& economics, const std::string& service) {
    const auto found = economics.handshakes().find(service);
    if (found == economics.handshakes().end()) return false;
    return std::ranges::any_of(found->second, [](const Economics::Handshakes& one) {
        return one.full_count + one.resumed_count > 0;
    });
}

void vip_effects(const Config& now, const Config& next, const Economics& economics,
                 std::vector<Effect>& effects) {
    const Vips old = vips_of(now), coming = vips_of(next);
    for (const auto& [vip, service] : old)
        if (!coming.contains(vip)) {
            const bool used = in_use(economics, service);
            effects.push_back({fmt::format("{} of service {} goes{}", vip.text(), service,
                                           used ? ": its clients are cut off" : ""),
                               used ? Harm::vip_in_use : Harm::none});
        }
    for (const auto& [vip, service] : coming)
        if (!old.contains(vip))
            effects.push_back({fmt::format("{} of service {} comes", vip.text(), service)});
}

}  // namespace

std::vector<Effect> effects_of(const Config& now, const Config& next, const Blades& blades,
                               const Economics& economics) {
    std::vector<Effect> effects;
    blade_effects(now, next, blades, effects);
    pool_effects(now, next, blades, effects);
    vip_effects(now, next, economics, effects);
    return effects;
}

std::vector<std::string> fixed_keys_changed(const Config& now, const Config& next) {
    std::vector<std::string> changed;
    const auto same = [&](bool equal, const char* key) {
        if (!equal)
            changed.push_back(
                fmt::format("{}: {} cannot change while keyraild runs; restart it", next.file.string(), key));
    };
    same(next.run_dir == now.run_dir, "run_dir");
    same(next.state_dir == now.state_dir, "state_dir");
    same(next.dataplane == now.dataplane, "dataplane");
    same(next.metrics == now.metrics, "metrics");
    same(next.https == now.https, "[https]");
    same(next.busy_poll == now.busy_poll, "busy_poll");
    same(next.urgent == now.urgent, "urgent");
    same(next.core == now.core, "core");
    const bool has_lmdb =
        std::ranges::count(now.services, RepositoryKind::lmdb, &ServiceConfig::repository) != 0;
    same(!has_lmdb || next.lmdb_bytes == now.lmdb_bytes, "size_mb of [lmdb]");
    return changed;
}

}  // namespace keyrail
