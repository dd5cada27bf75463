// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/blades/binding.h"

#include <fmt/ranges.h>

namespace keyrail {

BindingChoice choose_binding(const ServiceConfig& service, const Blades& blades) {
    if (service.binding == Binding::early) return {false, "configured"};
    std::vector<std::string> unable;
    for (const BladeId id : service.members()) {
        const Blade& blade = blades.all().at(id);
        if (!blade.unable_to_accept(service.name)) continue;
        const bool mptcp = blade.uses_mptcp(service.name);
        unable.push_back(mptcp ? fmt::format("{} (its server listens by MPTCP)", blade.config.name)
                               : fmt::format("{} (kernel {}{})", blade.config.name, blade.kernel,
                                             blade.problems.empty() ? "" : ": " + blade.problems.front()));
    }
    const bool routes = !service.routes.empty();  // they need the ClientHello
    if (service.binding == Binding::late || routes) {
        const char* why = service.binding == Binding::late ? "configured" : "its routes need the ClientHello";
        if (unable.empty()) return {true, why};
        return {true,
                fmt::format(
                    "{}; left out, for their servers cannot be given connections by the accept program: {}",
                    why, fmt::join(unable, ", "))};
    }
    if (unable.empty()) return {true, "every blade has the accept program"};
    return {false, fmt::format("the accept program does not work on {}", fmt::join(unable, ", "))};
}

}  // namespace keyrail
