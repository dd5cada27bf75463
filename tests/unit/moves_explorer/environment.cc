// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/moves_explorer/environment.h"

#include "tests/unit/moves_explorer/inspect.h"

namespace keyrail::testing {

namespace {

bool same(const Store::Change& a, const Store::Change& b) {
    return a.gone == b.gone && a.receipt == b.receipt;
}

}  // namespace

ConfigPtr Environment::config_of_two() {
    Config config;
    for (const BladeId blade : {BladeId{1}, BladeId{2}}) config.blades[blade].id = blade;
    auto& service = config.services.emplace_back();
    service.name = "www";
    service.port = 443;
    service.blades = {1, 2};
    return std::make_shared<const Config>(std::move(config));
}

void Environment::read_journal(World& world, size_t self) {
    for (const Store::Change& change : std::exchange(world.unread[self], {}))
        Inspect::note(*world.checkpointers[self], change);
}

void Environment::enter(World& world) {
    now = &world;
    for (size_t i = 0; i < 2; i++) {
        fences[i] = *world.fences[i];
        const auto there = stores[i]->peek(name);
        const auto& wanted = world.holds[i];
        if (wanted && (!there || there->receipt != *wanted)) {
            record.moved_in = i != 0;
            record.receipt = *wanted;
            (void)stores[i]->put(record);
        }
        if (!wanted && there) stores[i]->erase(name);
        std::vector<Store::Change> ours;
        (void)stores[i]->changes(cursors[i], ours);
        Inspect::journal(*world.checkpointers[i]) = cursors[i];
    }
}

void Environment::leave() {
    for (size_t i = 0; i < 2; i++) {
        *now->fences[i] = fences[i];
        const auto there = stores[i]->peek(name);
        now->holds[i] = there ? std::optional(there->receipt) : std::nullopt;
        std::vector<Store::Change> all, fresh;
        (void)stores[i]->changes(cursors[i], all);
        (void)stores[i]->changes(Inspect::journal(*now->checkpointers[i]), fresh);
        if (!repository) continue;  // nobody is told
        const auto add = [](std::vector<Store::Change>& to, const std::vector<Store::Change>& more) {
            for (const Store::Change& change : more)
                if (to.empty() || !same(to.back(), change)) to.push_back(change);
        };
        add(now->unread[i], fresh);
        add(now->history[i], all);
    }
}

/// With a repository: keyraild has heard of the session and keeps it.
World::World(Environment& environment, const Troubles& troubles) : left(troubles) {
    environment.start_keyraild(*this);
    for (size_t i = 0; i < 2; i++) environment.start_agent(*this, i);
    holds[0].emplace();
    if (!troubles.repository) return;
    history[0] = {Store::Change{environment.name, false, {}}};
    environment.enter(*this);
    checkpointers[0]->start_over();
    chassis::Checkpoint told;
    uint64_t number = 0;
    if (checkpointers[0]->next(told, number, kMuchLater)) checkpoints->checkpoint(1, told, number);
    environment.repository_step();
    environment.leave();
    unread = {};
}

}  // namespace keyrail::testing
