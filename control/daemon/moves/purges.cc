// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/purges.h"

#include <algorithm>

namespace keyrail {

void Purges::drop_answered() {
    std::erase_if(purges_, [](const Purge& purge) { return purge.blades.empty(); });
}

/// Too many to tell a blade that is away one by one: of the two oldest becomes one of everything. It destroys
/// more than was asked for, and never less.
void Purges::add(const chassis::Purge& message, std::set<BladeId> blades) {
    const auto what = Purged::from(message);
    if (!what || blades.empty()) return;
    if (purges_.size() >= kMax) {
        Purge& next = purges_[1];
        next.blades.merge(purges_[0].blades);
        next.what = {};
        const uint64_t number = next.message.number();
        next.message.Clear();
        next.message.set_number(number);
        next.message.set_all(true);
        purges_.erase(purges_.begin());
    }
    purges_.push_back({message, *what, std::move(blades)});
}

void Purges::answered(BladeId blade, uint64_t number) {
    for (Purge& purge : purges_)
        if (purge.message.number() == number) purge.blades.erase(blade);
    drop_answered();
}

std::vector<chassis::Purge> Purges::of(BladeId blade) const {
    std::vector<chassis::Purge> found;
    for (const Purge& purge : purges_)
        if (purge.blades.contains(blade)) found.push_back(purge.message);
    return found;
}

bool Purges::purging(BladeId blade, const SessionName& name, ServiceId service) const {
    return std::ranges::any_of(purges_, [&](const Purge& purge) {
        return purge.blades.contains(blade) && purge.what.means(name, service);
    });
}

}  // namespace keyrail
