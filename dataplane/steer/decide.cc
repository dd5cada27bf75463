// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steer/decide.h"

#include <optional>

#include "dataplane/common/hold_waits.h"

namespace keyrail::steer {
namespace {

/// A quarter of the scale: a smaller difference is noise, and following noise would starve a blade.
constexpr uint32_t kLoadMargin = 16384;

/// Maglev's first candidate, or its second where that is clearly less loaded.
BladeId pick(const Maglev& ring, uint64_t hash, const Snapshot& snapshot) {
    const BladeId a = ring.at(hash), b = ring.second(hash);
    return snapshot.blades[b].load + kLoadMargin < snapshot.blades[a].load ? b : a;
}

/// All that a decision is made of.
struct Question {
    const HelloFacts& hello;
    const Snapshot& snapshot;
    const Holder& holder;
    bool control_up;

    [[nodiscard]] const Service& service() const { return snapshot.services[hello.service]; }
    [[nodiscard]] const Pool& pool() const { return snapshot.pools[hello.pool]; }
};

/// Why the session of this hello cannot leave its holder; nullopt: it can be asked for.
std::optional<Reason> immovable(const Question& q) {
    if (!q.service().content_moves && !q.pool().has(q.holder.blade)) return Reason::steer_content;
    if (q.service().hold_budget(q.hello.tls_version) == 0) return Reason::steer_not_worth;
    if (!q.control_up) return Reason::steer_no_control;
    return std::nullopt;
}

/// The blade for a client whose session is with the holder, or with nobody: then who can open its ticket.
BladeId choose(const Question& q) {
    const auto& [hello, snapshot, holder, control_up] = q;
    if (hello.bound != 0) return hello.bound;
    const BladeId has_keys = holder.blade != 0 ? holder.blade : hello.opener;
    const Intake intake = q.pool().has(has_keys) ? snapshot.blades[has_keys].intake : Intake::none;
    if (intake == Intake::open) return has_keys;
    const Maglev& ring = q.pool().ring;
    if (ring.empty()) return {};
    const BladeId other = pick(ring, ring_hash(hello, holder), snapshot);
    if (intake >= snapshot.blades[other].intake) return has_keys;  // nobody is better off
    // A full handshake elsewhere would cost the chassis more than a resumption on a blade that is full.
    if (intake == Intake::overloaded && (holder.blade == 0 || immovable(q))) return has_keys;
    return other;
}

/// The client goes to another blade than its session's holder. One whose server has stopped can still hand
/// the session over, its agent has the store: only from one that is gone nothing comes.
Decision away_from_holder(const Question& q, BladeId blade) {
    const bool holder_lives = q.snapshot.blades[q.holder.blade].flows_live;
    if (!holder_lives && !q.service().repository) return {blade, Reason::steer_holder_down};
    if (const auto why = immovable(q)) return {blade, *why};
    return {blade, Reason::steer_hold_full, true};
}

}  // namespace

Holder home_of(const HelloFacts& hello) {
    for (uint8_t i = 0; i < hello.name_count; i++)
        if (hello.homes[i] != 0) return {hello.homes[i], i, false};
    return {};
}

/// In TLS 1.2 a full handshake has a round trip more before the client may send (RFC 5246 section 7.3). In
/// TLS 1.3 it has not, but early data needs none at all (RFC 8446 section 2.3).
void weigh(Wait& wait, const HelloFacts& hello, const Service& service) {
    const size_t version = tls_index(hello.tls_version);
    const bool saves_trip = version == 0 || (service.early_data && hello.early_data);
    const uint32_t trip = saves_trip ? wait.round_trip : 0;
    if (const uint32_t servers = service.saving_us[version]; servers != 0) wait.saving = servers + trip;
    wait.budget = service.hold_budget_us[version] + (service.hold_fixed ? 0 : trip);
    if (service.hold_fixed) wait.expected = 0;
}

/// As where a move is not worth it: a holder that is only overloaded keeps its client.
Decision without_move(const Decision& decision, const HelloFacts& hello, const Snapshot& snapshot,
                      const Holder& holder) {
    const bool could_stay = hello.bound == 0 && snapshot.pools[hello.pool].has(holder.blade) &&
                            snapshot.blades[holder.blade].intake == Intake::overloaded;
    return {could_stay ? holder.blade : decision.blade, Reason::steer_long_wait};
}

Decision decide(const HelloFacts& hello, const Snapshot& snapshot, const Holder& holder, bool control_up) {
    const Question q{hello, snapshot, holder, control_up};
    const BladeId blade = choose(q);
    if (blade == 0) return {0, Reason::drop_no_blade};
    if (holder.blade == 0) return {blade, blade == hello.opener ? Reason::steer_ticket : hello.unnamed};
    if (blade == holder.blade) return {blade, holder.moved ? Reason::steer_moved : Reason::steer_home};
    return away_from_holder(q, blade);
}

}  // namespace keyrail::steer
