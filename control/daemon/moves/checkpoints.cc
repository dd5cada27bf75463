// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/checkpoints.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/daemon/moves/moves.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

namespace {

constexpr uint64_t kUnknownLifetimeMs = 7'200'000;
constexpr int kMaxStale = 2000;  // of one message

bool read_state(const chassis::SessionState& message, SessionName& name, LatestState& state) {
    if (message.name().size() != name.size()) return false;
    std::ranges::copy(message.name(), name.begin());
    state.uses = message.uses();
    state.gone = message.gone();
    if (state.gone) return true;
    if (message.digest().size() != state.digest.size()) return false;
    std::ranges::copy(message.digest(), state.digest.begin());
    return true;
}

}  // namespace

const ServiceConfig* Checkpoints::service_named(const std::string& name) const {
    const auto found = std::ranges::find(config_->services, name, &ServiceConfig::name);
    return found == config_->services.end() ? nullptr : &*found;
}

// --- what agents tell ---

/// A blade that once had the session may say that it is gone, even if it has been elsewhere since: its home,
/// and any blade that got it by an order.
void Checkpoints::end(BladeId blade, const chassis::SessionState& state, const SessionName& name,
                      uint64_t ticket) {
    const bool had_it = host_->home(name) == blade || host_->holder(name) == blade ||
                        host_->order_in(state.receipt(), name, blade).has_value();
    if (!had_it) {
        counters_.stale++;
        if (ticket != 0) forgotten(ticket);
        return;
    }
    latest_.tell(blade, name, {state.uses(), {}, true}, unix_ms() + kUnknownLifetimeMs);
    sealed_->forget(name, ticket);
}

/// A blade reports a session that is elsewhere: either the report is older than the move, or the blade has a
/// copy.
void Checkpoints::report(BladeId blade, const chassis::SessionState& state, uint64_t ticket) {
    SessionName name;
    LatestState latest;
    if (!read_state(state, name, latest)) {
        if (state.gone() && ticket != 0) forgotten(ticket);
        return;
    }
    counters_.reported++;
    if (latest.gone) return end(blade, state, name, ticket);
    if (host_->purging(blade, name, ServiceId::of(state.service()))) return;
    const bool elsewhere = host_->holder(name).value_or(blade) != blade;
    const uint64_t expires =
        state.expires_ms() != 0 ? credible_expiry(state.expires_ms()) : unix_ms() + kUnknownLifetimeMs;
    const Latest::Told told = elsewhere ? Latest::Told{Latest::Verdict::stale, std::nullopt}
                                        : latest_.tell(blade, name, latest, expires);
    if (told.verdict == Latest::Verdict::stale) {
        counters_.stale++;
        chassis::SessionState& copy = *stale_[blade].add_sessions();
        copy = state;
        copy.clear_sealed();
        return;
    }
    if (told.superseded) {
        const auto& [other, before] = *told.superseded;
        chassis::SessionState& copy = *stale_[other].add_sessions();
        copy.set_name(state.name());
        copy.set_uses(before.uses);
        copy.set_digest(before.digest.data(), before.digest.size());
    }
    // Who says that he sealed it is who says it here, and serves it; and the name is one of ours.
    const ServiceConfig* const service = service_named(state.service());
    if (!state.sealed().empty() && state.sealed().size() <= kMaxSealed && state.blade() == blade &&
        service != nullptr && service->has_member(blade) && host_->holder(name) == blade)
        sealed_->keep(state.service(), {name, expires, state.SerializeAsString()});
}

/// Those that cannot be kept now are asked for again: the oldest is forgotten.
uint64_t Checkpoints::promise(BladeId blade, uint64_t number, size_t sessions) {
    const auto of_blade = [&](const auto& entry) { return entry.second.blade == blade; };
    if (static_cast<size_t>(std::ranges::count_if(promises_, of_blade)) >= kMaxPromises)
        promises_.erase(std::ranges::find_if(promises_, of_blade));
    promises_[++last_ticket_] = {blade, number, sessions};
    return last_ticket_;
}

void Checkpoints::checkpoint(BladeId blade, const chassis::Checkpoint& message, uint64_t number) {
    const auto gone = std::ranges::count_if(message.sessions(), &chassis::SessionState::gone);
    const uint64_t ticket = number != 0 ? promise(blade, number, static_cast<size_t>(gone) + 1) : 0;
    for (const chassis::SessionState& state : message.sessions()) report(blade, state, ticket);
    if (ticket != 0) forgotten(ticket);
    tell_stale();
}

void Checkpoints::forgotten(uint64_t ticket) {
    const auto found = promises_.find(ticket);
    if (found == promises_.end() || --found->second.left > 0) return;
    chassis::Envelope message;
    message.set_request(found->second.number);
    message.mutable_checkpoint_ack();
    (void)host_->send(found->second.blade, std::move(message));
    promises_.erase(found);
}

void Checkpoints::agent_lost(BladeId blade) {
    std::erase_if(promises_, [&](const auto& entry) { return entry.second.blade == blade; });
}

/// A session that was moved back to the blade meanwhile is none.
bool Checkpoints::is_copy(BladeId blade, const chassis::SessionState& state) const {
    SessionName name;
    LatestState held;
    if (!read_state(state, name, held)) return false;
    return host_->holder(name) != blade || latest_.judge(name, held) == Latest::Verdict::stale;
}

/// What is under way is looked at again when it has arrived.
void Checkpoints::tell_stale() {
    std::map<BladeId, chassis::Stale> later;
    for (auto& [blade, stale] : stale_) {
        chassis::Stale now;
        for (chassis::SessionState& state : *stale.mutable_sessions()) {
            const auto name = name_from(state.name());
            if (name && host_->under_way(*name))
                *later[blade].add_sessions() = std::move(state);
            else if (is_copy(blade, state))
                *now.add_sessions() = std::move(state);
        }
        stale = std::move(now);
        for (int begin = 0; begin < stale.sessions_size(); begin += kMaxStale) {
            chassis::Envelope message;
            for (int i = begin; i < std::min(begin + kMaxStale, stale.sessions_size()); i++)
                *message.mutable_stale()->add_sessions() = stale.sessions(i);
            (void)host_->send(blade, std::move(message));  // it tells of them again when it comes back
        }
    }
    stale_ = std::move(later);
}

// --- moves ---

/// Why this is not to be restored; "": it is. A single-use session only if it is known that nobody used it:
/// who told of it last is alive, has it no more, and knows what became of it since. Of any session no copy is
/// made of what a living blade may still have.
std::string Checkpoints::unfit(const Retrieval& retrieval, const chassis::SessionState& state) const {
    const MoveOrder& order = retrieval.order;
    SessionName name;
    LatestState latest;
    if (!read_state(state, name, latest) || name != order.name) return "is not what was asked for";
    const ServiceConfig* const service = service_named(state.service());
    if (service == nullptr || !service->has_member(order.to))
        return "is of '" + state.service().substr(0, 63) + "', which that blade does not serve";
    if (latest_.judge(name, latest) == Latest::Verdict::stale) return "is behind its latest state";
    const auto teller = BladeId::or_none(state.blade());
    const NotUsed& known = retrieval.known;
    if (state.single_use() && (known.blade == 0 || known.blade != teller || known.epoch != state.epoch()))
        return "may have been used: it is of single use, and that it was not used nobody can know";
    if (teller != order.from && config_->blades.contains(teller) && !host_->dead(teller))
        return "may be at a blade that is alive";
    return "";
}

void Checkpoints::retrieved(const Retrieval& retrieval, const std::string& stored) {
    const MoveOrder& order = retrieval.order;
    chassis::Envelope message;
    chassis::SessionState& state = *message.mutable_restore()->mutable_session();
    if (stored.empty()) return host_->not_restored(order.id);
    const std::string why = state.ParseFromString(stored) ? unfit(retrieval, state) : "cannot be read";
    if (!why.empty()) {
        counters_.refused++;
        spdlog::warn("repository: a session for blade {} {}: refused", order.to, why);
        return host_->not_restored(order.id);
    }
    message.mutable_restore()->set_order_id(order.id);
    message.mutable_restore()->set_receipt(host_->receipt(order.name, order.to, order.id));
    if (auto sent = host_->send(order.to, std::move(message)); !sent) return host_->not_restored(order.id);
    counters_.restored++;
}

bool Checkpoints::restore(const MoveOrder& order, const NotUsed& known) {
    return sealed_->retrieve({order, known});
}

void Checkpoints::restored(const MoveOrder& order) {
    const LatestState* const known = latest_.find(order.name);
    if (known == nullptr || known->gone) return;
    chassis::SessionState& copy = *stale_[order.from].add_sessions();
    copy.set_name(bytes_of(order.name));
    copy.set_uses(known->uses);
    copy.set_digest(known->digest.data(), known->digest.size());
    tell_stale();
}

void Checkpoints::purge(const SessionName& name) {
    latest_.tell(0, name, {0, {}, true}, unix_ms() + kUnknownLifetimeMs);
}

}  // namespace keyrail
