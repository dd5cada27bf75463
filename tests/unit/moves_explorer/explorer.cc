// SPDX-License-Identifier: Apache-2.0
// What must hold in every state, and the start.
#include <fmt/format.h>

#include "tests/unit/moves_explorer/impl.h"

namespace keyrail::testing {

bool Explorer::Impl::quiet(const World& world) {
    for (const Wire& wire : world.wires)
        if (!wire.open || !wire.there.empty() || !wire.back.empty()) return false;
    for (size_t i = 0; i < 2; i++)
        if (world.announcing[i] || world.movers[i]->under_way() > 0 || world.receivers[i]->waiting() > 0 ||
            !world.unread[i].empty() || Inspect::has_more(*world.checkpointers[i]))
            return false;
    return world.tasks.empty() && world.moves->orders().under_way() == 0;
}

std::string Explorer::Impl::wrong(const World& world) const {
    const int holders = world.holds[0].has_value() + world.holds[1].has_value();
    const bool single = environment.record.single_use;
    // A reusable one is restored when its blade is dead for keyraild; when that is back, both have it a
    // moment.
    if (holders > 1 && (single || !environment.repository)) return "both blades hold the session";
    if (single && world.used + holders > 1) return "the session was used, and can be used again";
    for (const auto& [move, count] : world.answers)
        if (count > 1) return fmt::format("move {} was answered {} times", move, count);
    const auto answered = [&](BladeId blade) { return world.purges->of(blade).empty(); };
    const bool purged = world.purge_asked && answered(1) && answered(2) && answered(Purges::kRepositories);
    if (purged && holders > 0) return "it was purged everywhere, and is still there";
    if (purged && world.kept) return "it was purged everywhere, and is still in the repository";
    return quiet(world) ? wrong_at_rest(world) : "";
}

std::string Explorer::Impl::wrong_at_rest(const World& world) const {
    const int holders = world.holds[0].has_value() + world.holds[1].has_value();
    if (holders > 1) return "both blades hold the session";
    if (!world.forgetful && !world.troubled && world.answers.size() != world.asked + world.pulled)
        return "a move was never answered";
    if (world.troubled || world.purge_asked) return "";
    const bool used_up = environment.record.single_use && world.used == 1;
    if (holders + used_up != 1) return "the session is lost though nothing went wrong";
    if (holders == 1 && world.moves->holder(environment.name) != id_of(world.holds[0] ? 0 : 1))
        return "keyraild is wrong about where the session is";
    return "";
}

Explorer::Explorer(const Troubles& troubles, Mistake mistake)
    : impl_(std::make_unique<Impl>(troubles, mistake)) {}
Explorer::~Explorer() = default;

Explorer::Report Explorer::run() {
    impl_->seen.insert(Inspect::of(impl_->start, impl_->environment.name));
    impl_->explore(impl_->start);
    impl_->report.states = impl_->seen.size();
    return impl_->report;
}

}  // namespace keyrail::testing
