// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/checkpoints.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/daemon/moves/moves.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

namespace {

constexpr uint64_t kUnknownLifetimeMs = 7'200'000;
constexpr int kMostStale = 2000;  // of one message

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

Checkpoints::Checkpoints(asio::any_io_executor executor, ConfigPtr config, CheckpointHost& host)
    : config_(std::move(config)),
      host_(host),
      keeper_(config_->state_dir / "pool_keys"),
      repositories_(std::move(executor)) {}

void Checkpoints::commit(ConfigPtr config, Repositories::Prepared prepared) {
    config_ = std::move(config);
    repositories_.commit(std::move(prepared));
}

const ServiceConfig* Checkpoints::service_named(const std::string& name) const {
    const auto found = std::ranges::find(config_->services, name, &ServiceConfig::name);
    return found == config_->services.end() ? nullptr : &*found;
}

RepositoryQueue* Checkpoints::repository_of(const std::string& service) const {
    if (const ServiceConfig* const known = service_named(service))
        return repositories_.find(known->repository);
    const auto& all = repositories_.all();
    return all.empty() || !service.empty() ? nullptr : all.begin()->second.get();
}

// --- what agents tell
// --------------------------------------------------------------------------------------------------------

void Checkpoints::change(const chassis::SessionState& state, const SessionName& name,
                         const LatestState& latest) {
    if (latest.gone) {
        for (const auto& [kind, queue] : repositories_.all()) queue->change({name, 0, ""});
        return;
    }
    const ServiceConfig* const service = state.sealed().empty() ? nullptr : service_named(state.service());
    if (service == nullptr) return;
    if (RepositoryQueue* const queue = repositories_.find(service->repository))
        queue->change({name, state.expires_ms(), state.SerializeAsString()});
}

/// A blade that tells of a session which is elsewhere has told of it before it moved away, and has it no
/// more; or it has a copy.
void Checkpoints::report(uint16_t blade, const chassis::SessionState& state) {
    SessionName name;
    LatestState latest;
    if (!read_state(state, name, latest)) return;
    counters_.reported++;
    const bool elsewhere = host_.holder(name).value_or(blade) != blade;
    if (elsewhere && latest.gone) return;  // not its to say
    const uint64_t expires = state.expires_ms() != 0 ? state.expires_ms() : unix_ms() + kUnknownLifetimeMs;
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
    change(state, name, latest);
}

void Checkpoints::checkpoint(uint16_t blade, const chassis::Checkpoint& message) {
    for (const chassis::SessionState& state : message.sessions()) report(blade, state);
    tell_stale();
}

/// A session that was moved back to the blade meanwhile is none.
bool Checkpoints::is_copy(uint16_t blade, const chassis::SessionState& state) const {
    SessionName name;
    LatestState held;
    if (!read_state(state, name, held)) return false;
    return host_.holder(name) != blade || latest_.judge(name, held) == Latest::Verdict::stale;
}

/// What is under way is looked at again when it has arrived.
void Checkpoints::tell_stale() {
    std::map<uint16_t, chassis::Stale> later;
    for (auto& [blade, stale] : stale_) {
        chassis::Stale now;
        for (chassis::SessionState& state : *stale.mutable_sessions()) {
            const auto name = name_from(state.name());
            if (name && host_.under_way(*name))
                *later[blade].add_sessions() = std::move(state);
            else if (is_copy(blade, state))
                *now.add_sessions() = std::move(state);
        }
        stale = std::move(now);
        for (int begin = 0; begin < stale.sessions_size(); begin += kMostStale) {
            chassis::Envelope message;
            for (int i = begin; i < std::min(begin + kMostStale, stale.sessions_size()); i++)
                *message.mutable_stale()->add_sessions() = stale.sessions(i);
            (void)host_.send(blade, std::move(message));  // it tells of them again when it comes back
        }
    }
    stale_ = std::move(later);
}

void Checkpoints::pool_keys(uint16_t blade, const chassis::PoolKeys& answer) {
    if (!keeper_.add(blade, answer, unix_ms()))
        spdlog::warn("pool keys: blade {} sent some that it was not asked for; they are dropped", blade);
    hand_out_keys(host_.members());
}

/// Each connected blade has exactly the keys that are for it.
void Checkpoints::hand_out_keys(const PoolKeyKeeper::Members& members) {
    std::erase_if(handed_out_, [&](const auto& entry) { return !members.contains(entry.first); });
    for (const auto& [blade, member] : members) {
        const std::string now = member.recipient + std::to_string(keeper_.version());
        if (handed_out_[blade] == now) continue;
        chassis::Envelope message;
        *message.mutable_pool_keys() = keeper_.keys_of(member.recipient);
        if (host_.send(blade, std::move(message))) handed_out_[blade] = now;
    }
}

void Checkpoints::tick(uint64_t now_ms) {
    latest_.sweep(now_ms);
    std::vector<SealedService> sealed;
    for (const ServiceConfig& service : config_->services)
        if (service.repository != RepositoryKind::none)
            sealed.push_back({service.name, static_cast<uint64_t>(service.session_lifetime.count()) * 1000,
                              service.members()});
    if (sealed.empty()) return;
    const auto members = host_.members();
    keeper_.poll(sealed, members, now_ms, [this](uint16_t blade, chassis::Envelope message) {
        (void)host_.send(blade, std::move(message));
    });
    hand_out_keys(members);
}

// --- moves
// --------------------------------------------------------------------------------------------------------

bool Checkpoints::keeps(const std::string& service) const { return repository_of(service) != nullptr; }

bool Checkpoints::send_restored(const std::string& stored, const SessionName& name, uint16_t to,
                                uint64_t order_id) {
    chassis::Envelope message;
    chassis::SessionState& state = *message.mutable_restore()->mutable_session();
    SessionName stored_name;
    LatestState latest;
    const bool good =
        state.ParseFromString(stored) && read_state(state, stored_name, latest) && stored_name == name;
    const ServiceConfig* const service = good ? service_named(state.service()) : nullptr;
    if (service == nullptr || !service->has_member(to)) {
        spdlog::warn("repository: blade {} asks for a session of '{}', which it does not serve: refused", to,
                     good ? state.service() : "?");
        counters_.refused++;
        return false;
    }
    if (latest_.judge(name, latest) == Latest::Verdict::stale) {
        spdlog::warn("repository: a session for blade {} is behind its latest state: refused", to);
        counters_.refused++;
        return false;
    }
    message.mutable_restore()->set_order_id(order_id);
    if (auto sent = host_.send(to, std::move(message)); !sent) return false;
    counters_.restored++;
    return true;
}

bool Checkpoints::restore(const MoveOrder& order) {
    RepositoryQueue* const repository = repository_of(order.service);
    if (repository == nullptr) return false;
    repository->take(order.name, [this, name = order.name, to = order.to,
                                  id = order.id](const std::optional<std::string>& stored) {
        if (!stored || !send_restored(*stored, name, to, id)) host_.not_restored(id);
    });
    return true;
}

void Checkpoints::purge(const SessionName& name) {
    latest_.tell(0, name, {0, {}, true}, unix_ms() + kUnknownLifetimeMs);
    for (const auto& [kind, queue] : repositories_.all()) queue->change({name, 0, ""});
}

void Checkpoints::clear() {
    for (const auto& [kind, queue] : repositories_.all()) queue->clear();
}

nlohmann::json Checkpoints::report() const {
    return {{"reported", counters_.reported}, {"stale", counters_.stale},
            {"restored", counters_.restored}, {"refused", counters_.refused},
            {"sessions", latest_.size()},     {"repositories", repositories_.report()}};
}

}  // namespace keyrail
