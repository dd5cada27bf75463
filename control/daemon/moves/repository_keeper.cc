// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/repository_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>

namespace keyrail {

RepositoryKeeper::RepositoryKeeper(asio::any_io_executor executor, ConfigPtr config, Checkpoints& checkpoints,
                                   ConfiguredBefore& before, std::function<void()> save, Send send)
    : config_(std::move(config)),
      checkpoints_(checkpoints),
      before_(before),
      save_(std::move(save)),
      send_(std::move(send)),
      keeper_(config_->state_dir / "pool_keys"),
      repositories_(std::move(executor)) {}

/// Sessions were used up, destroyed and purged while a repository was out of use, and it was not told.
bool RepositoryKeeper::commit(ConfigPtr config, Repositories::Prepared prepared) {
    config_ = std::move(config);
    const auto opened = repositories_.commit(std::move(prepared));
    for (const RepositoryKind kind : {RepositoryKind::lmdb, RepositoryKind::redis}) {
        const std::string name = kind == RepositoryKind::lmdb ? "lmdb" : "redis";
        const auto places = repositories_.places(kind);
        if (before_.repository(name, places) || !opened.contains(kind)) continue;
        repositories_.find(kind)->purge(
            nullptr, [](const Result<void>&) {},
            [this, name, places] {
                before_.emptied(name, places);
                save_();
            });
    }
    return !opened.empty();
}

RepositoryQueue* RepositoryKeeper::repository_of(const std::string& service) const {
    const auto found = std::ranges::find(config_->services, service, &ServiceConfig::name);
    if (found != config_->services.end()) return repositories_.find(found->repository);
    const auto& all = repositories_.all();
    return all.empty() || !service.empty() ? nullptr : all.begin()->second.get();
}

// --- sessions ---

void RepositoryKeeper::keep(const std::string& service, RepositoryChange change) {
    if (RepositoryQueue* const queue = repository_of(service)) queue->change(std::move(change));
}

void RepositoryKeeper::forget(const SessionName& name, uint64_t ticket) {
    forget(name, [this, ticket] { checkpoints_.forgotten(ticket); });
}

void RepositoryKeeper::forget(const SessionName& name, std::function<void()> then) {
    const auto left = std::make_shared<size_t>(repositories_.all().size());
    if (*left == 0) return then();
    for (const auto& [kind, queue] : repositories_.all())
        queue->change({name, 0, ""}, [left, then] {
            if (--*left == 0) then();
        });
}

bool RepositoryKeeper::retrieve(const Retrieval& retrieval) {
    RepositoryQueue* const repository = repository_of(retrieval.order.service);
    if (repository == nullptr) return false;
    repository->take(retrieval.order.name, [this, retrieval](const std::optional<std::string>& stored) {
        checkpoints_.retrieved(retrieval, stored.value_or(""));
    });
    return true;
}

void RepositoryKeeper::purge(const Purged& purged,
                             std::function<void(const std::vector<std::string>& problems)> then,
                             std::function<void()> done) {
    Repository::Which which;
    if (!purged.everything())
        which = [purged](std::string_view sealed) {
            chassis::SessionState state;
            const auto name = state.ParseFromArray(sealed.data(), static_cast<int>(sealed.size()))
                                  ? name_from(state.name())
                                  : std::nullopt;
            return !name || purged.means(*name, ServiceId::of(state.service()));
        };
    struct Round {
        size_t left, not_done;
        std::vector<std::string> problems;
    };
    const size_t all = repositories_.all().size();
    const auto round = std::make_shared<Round>(Round{all, all, {}});
    if (all == 0) {
        then({});
        return done();
    }
    for (const auto& [kind, queue] : repositories_.all())
        queue->purge(
            which,
            [round, then](const Result<void>& result) {
                if (!result) round->problems.push_back(result.error().message);
                if (--round->left == 0) then(round->problems);
            },
            [round, done] {
                if (--round->not_done == 0) done();
            });
}

// --- pool keys ---

void RepositoryKeeper::pool_keys(BladeId blade, const chassis::PoolKeys& answer,
                                 const PoolKeyKeeper::Members& members) {
    if (!keeper_.add(blade, answer, unix_ms()))
        spdlog::warn("pool keys: blade {} sent some that it was not asked for; they are dropped", blade);
    hand_out_keys(members);
}

/// Each connected blade has exactly the keys that are for it.
void RepositoryKeeper::hand_out_keys(const PoolKeyKeeper::Members& members) {
    std::erase_if(handed_out_, [&](const auto& entry) { return !members.contains(entry.first); });
    for (const auto& [blade, member] : members) {
        const std::string now = member.recipient + std::to_string(keeper_.version());
        if (handed_out_[blade] == now) continue;
        chassis::Envelope message;
        *message.mutable_pool_keys() = keeper_.keys_of(member.recipient);
        if (send_(blade, std::move(message))) handed_out_[blade] = now;
    }
}

void RepositoryKeeper::tick(uint64_t now_ms, const PoolKeyKeeper::Members& members) {
    std::vector<SealedService> sealed;
    for (const ServiceConfig& service : config_->services)
        if (service.repository != RepositoryKind::none)
            sealed.push_back({service.name, static_cast<uint64_t>(service.session_lifetime.count()) * 1000,
                              service.members()});
    if (sealed.empty()) return;
    keeper_.poll(sealed, members, now_ms, [this](BladeId blade, chassis::Envelope message) {
        (void)send_(blade, std::move(message));
    });
    hand_out_keys(members);
}

}  // namespace keyrail
