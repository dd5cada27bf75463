// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/blades/continuance.h"

namespace keyrail {

std::optional<Continuance::Stage> Continuance::pending_update(const Blade& blade, uint64_t now_ms) {
    const bool until_deadline = blade.draining && blade.drain.deadline_ms != 0;
    const Stage now{until_deadline, until_deadline && blade.drain.deadline_ms <= now_ms};
    const auto [told, fresh] = told_.try_emplace(blade.config.id, now);
    if (!fresh && told->second == now) return std::nullopt;
    told->second = now;
    return now;
}

}  // namespace keyrail
