// SPDX-License-Identifier: Apache-2.0
// Daemon: what checks find, who hears of it, and what the operator wishes of blades and services.
#include <fmt/ranges.h>

#include <algorithm>

#include "chassis.pb.h"
#include "control/daemon/core/daemon.h"

namespace keyrail {

CheckHost Daemon::check_host() {
    CheckHost host;
    // keyrail-dp makes the tables before it accepts the snapshot. While it is away nobody is judged.
    host.reachable = [this] {
        routed_ = routed_ || publisher_.up_to_date();
        return routed_ && dataplane_.peer().connected;
    };
    host.paused = [this](BladeId blade) {
        const Blade* const known = blades_.find(blade);
        return known == nullptr || known->draining;
    };
    host.alive = [this](BladeId blade) { agents_.answered(blade); };
    host.verdict = [this](BladeId blade, const std::string& service, const auto& verdict) {
        if (!blades_.checked(blade, service, verdict)) return;
        changed();
        tell_fail_open();
    };
    host.from = [this](const IpAddress& address) {
        checks_from_.push_back(address);
        tell_keys();  // so that handshakes from there are not counted
    };
    host.event = [this](const char* kind, std::string text) {
        events_.add(kind, Events::kNobody, std::move(text));
    };
    return host;
}

/// Once, when it comes to it, and once when it is over.
void Daemon::tell_fail_open() {
    const std::set<std::string>& open = blades_.fail_open();
    for (const std::string& service : open)
        if (!open_said_.contains(service))
            events_.add("service.fail_open", Events::kNobody,
                        fmt::format("service '{}': too few of its blades are healthy; checks take nobody out",
                                    service));
    for (const std::string& service : open_said_)
        if (!open.contains(service))
            events_.add("service.fail_open.over", Events::kNobody,
                        fmt::format("service '{}': enough of its blades are healthy again", service));
    open_said_ = open;
}

Result<void> Daemon::set_wish(BladeId blade, const BladeWish& wish) {
    if (auto set = wishes_.set(blade, wish); !set) return set;
    if (blades_.wished(blade, wish)) changed();
    return {};
}

Result<void> Daemon::set_service_disabled(const std::string& name, bool disabled) {
    if (auto set = wishes_.set_service(name, disabled); !set) return set;
    changed();
    return {};
}

}  // namespace keyrail
