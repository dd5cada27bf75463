// SPDX-License-Identifier: Apache-2.0
// What follows from what is known of one blade.
#include <algorithm>

#include "control/daemon/blades/blades.h"

namespace keyrail {

const char* text_of(BladeIntake intake) {
    switch (intake) {
        case BladeIntake::open:
            return "up";
        case BladeIntake::draining:
            return "draining";
        case BladeIntake::overloaded:
            return "overloaded";
        case BladeIntake::none:
            break;
    }
    return "down";
}

CheckVerdict::Health Blade::checked(const std::string& service) const {
    const auto found = checks.find(service);
    return found == checks.end() || fail_open.contains(service) ? CheckVerdict::Health::unknown
                                                                : found->second.health;
}

uint32_t Blade::share(const std::string& service) const {
    const auto found = checks.find(service);
    const uint32_t warm = found == checks.end() ? BladeWish::kWhole : found->second.share;
    return std::max(1u, wish.weight * warm / BladeWish::kWhole);
}

bool Blade::serves(uint16_t port) const {
    const bool checked_well = !agent_speaks() && std::ranges::any_of(services, [&](const auto& service) {
        return service.second.front().port == port && checked(service.first) == CheckVerdict::Health::up;
    });
    if (checked_well) return true;
    const auto found = listening.find(port);
    return found != listening.end() && found->second;
}

BladeIntake Blade::intake() const {
    if (!why_none().empty()) return BladeIntake::none;
    if (draining) return BladeIntake::draining;
    return overloaded ? BladeIntake::overloaded : BladeIntake::open;
}

std::string Blade::why_none() const {
    if (wish.disabled) return "disabled by the operator";
    if (silent || gone) return "does not answer";
    if (!reported) return connected ? "no health report yet" : "no agent";
    const bool serves_one =
        ports.empty() || std::ranges::any_of(ports, [&](uint16_t port) { return serves(port); });
    if (!serves_one) return "no server listens";
    const bool all_ill = !services.empty() && std::ranges::none_of(services, [&](const auto& service) {
        return serves_best(service.first);
    });
    if (!all_ill) return "";
    const std::vector<std::string> what = faults();
    return what.empty() ? "no server listens" : what.front();
}

bool Blade::serves_well(const std::string& service) const {
    const auto found = services.find(service);
    if (found == services.end()) return false;
    const CheckVerdict::Health found_by_check = checked(service);
    if (found_by_check == CheckVerdict::Health::down) return false;
    if (found_by_check == CheckVerdict::Health::up && !agent_speaks()) return true;
    return std::ranges::all_of(found->second, [&](const HostPort& at) {
        const auto known = addresses.find(at);
        return serves(at.port) && (known == addresses.end() || known->second.well());
    });
}

bool Blade::serves_best(const std::string& service) const {
    if (serves_well(service)) return true;
    const auto found = services.find(service);
    return unserved.contains(service) && found != services.end() &&
           std::ranges::any_of(found->second, [&](const HostPort& at) { return serves(at.port); });
}

bool Blade::uses_mptcp(const std::string& service) const {
    const auto found = services.find(service);
    return found != services.end() && std::ranges::any_of(found->second, [&](const HostPort& at) {
               const auto known = addresses.find(at);
               return known != addresses.end() && known->second.mptcp;
           });
}

bool Blade::unable_to_accept(const std::string& service) const {
    return (!version.empty() && !accept_program) || uses_mptcp(service);
}

bool Blade::without_hooks(const std::string& service) const {
    const auto without = [](const auto& entry) { return entry.second.without_hooks; };
    if (service.empty()) return !addresses.empty() && std::ranges::all_of(addresses, without);
    const auto found = services.find(service);
    return found != services.end() && std::ranges::any_of(found->second, [&](const HostPort& at) {
               const auto known = addresses.find(at);
               return known != addresses.end() && known->second.without_hooks;
           });
}

std::vector<std::string> Blade::faults() const {
    std::vector<std::string> all;
    if (mute)
        all.push_back(checks.empty() ? "the agent is connected and does not answer"
                                     : "the agent is connected and does not answer: the checks decide alone");
    for (const auto& [service, check] : checks)
        if (check.health == CheckVerdict::Health::down)
            all.push_back(fail_open.contains(service)
                              ? check.text + " (too few blades are healthy: it gets clients all the same)"
                              : check.text);
    for (const auto& [at, server] : addresses) {
        if (!serves(at.port)) continue;  // nobody listens for this service: no fault, it may be meant
        if (!server.address_here)
            all.push_back(fmt::format("{} is no address of this blade: ip address add {}/{} dev lo",
                                      at.address.text(), at.address.text(), at.address.bits()));
        else if (!server.listening)
            all.push_back(fmt::format("nobody listens at {}", at.text()));
        if (server.hangs) all.push_back(fmt::format("the server at {} does not answer", at.text()));
        if (server.mptcp)
            all.push_back(
                fmt::format("the server at {} listens by MPTCP: it cannot be bound late", at.text()));
        if (server.without_hooks)
            all.push_back(fmt::format(
                "the server at {} is without the hook library: no session is moved to it", at.text()));
    }
    return all;
}

}  // namespace keyrail
