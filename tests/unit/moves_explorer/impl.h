// SPDX-License-Identifier: Apache-2.0
// The explorer: the states it has seen, and its parts. steps.cc: every step from a state; events.cc: what a
// step does; explorer.cc: what must hold after it.
#pragma once

#include <unordered_set>

#include "tests/unit/moves_explorer/inspect.h"

namespace keyrail::testing {

struct LowHalf {
    size_t operator()(const XXH128_hash_t& hash) const { return hash.low64; }
};
struct SameHash {
    bool operator()(const XXH128_hash_t& a, const XXH128_hash_t& b) const { return XXH128_isEqual(a, b); }
};

struct Explorer::Impl {
    Impl(const Troubles& troubles, Mistake mistake)
        : moves(troubles.moves), environment(troubles, mistake), start(environment, troubles) {}

    size_t moves;
    Environment environment;
    World start;
    std::unordered_set<XXH128_hash_t, LowHalf, SameHash> seen;
    Report report;

    void explore(const World& world);
    template <typename What, typename Make>
    void step(const World& world, const What& what, const Make& make);
    void message_steps(const World& world, size_t wire, bool there);
    void wire_steps(const World& world, size_t wire);
    void agent_steps(const World& world, size_t i);
    void other_steps(const World& world);

    void deliver(World& world, size_t wire, bool there, const chassis::Envelope& message);
    void to_agent(World& world, size_t self, const chassis::Envelope& message);
    void to_keyraild(World& world, size_t from, const chassis::Envelope& message);
    void to_peer(World& world, size_t from, const chassis::Envelope& message);
    void break_wire(World& world, size_t wire);
    void connect(World& world, size_t wire);
    void announce(World& world, size_t self);
    void tell(World& world, size_t self);
    void purge(World& world);
    void crash_agent(World& world, size_t self);
    void crash_keyraild(World& world);
    void cut_off(World& world, size_t self);
    [[nodiscard]] std::string wrong(const World& world) const;
    [[nodiscard]] std::string wrong_at_rest(const World& world) const;
    [[nodiscard]] static bool quiet(const World& world);
};

}  // namespace keyrail::testing
