// SPDX-License-Identifier: Apache-2.0
// Which blades a configuration's services have.
#include <algorithm>
#include <set>

#include "control/daemon/config/config.h"

namespace keyrail {

void assign_pools(Config& config) {
    for (ServiceConfig& service : config.services) {
        service.blades = config.pools[service.pool];
        for (RouteConfig& route : service.routes) route.blades = config.pools[route.pool];
    }
}

std::vector<BladeId> ServiceConfig::members() const {
    std::set<BladeId> all(blades.begin(), blades.end());
    for (const RouteConfig& route : routes) all.insert(route.blades.begin(), route.blades.end());
    return {all.begin(), all.end()};
}

bool ServiceConfig::has_member(BladeId blade) const {
    const auto has = [&](const auto& one) { return std::ranges::binary_search(one.blades, blade); };
    return has(*this) || std::ranges::any_of(routes, has);
}

bool ServiceConfig::has_content_of(BladeId from, BladeId to) const {
    const auto has = [&](const auto& one) {
        return !std::ranges::binary_search(one.blades, to) || std::ranges::binary_search(one.blades, from);
    };
    return has(*this) && std::ranges::all_of(routes, has);
}

}  // namespace keyrail
