// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/repositories.h"

#include <algorithm>
#include <array>

#include "control/repository/lmdb_repository.h"

namespace keyrail {

Result<Repositories::Prepared> Repositories::prepare(const Config& next) const {
    Prepared prepared{{}, {}, next.redis};
    for (const ServiceConfig& service : next.services) prepared.named.insert(service.repository);
    const auto needs = [&](RepositoryKind kind) {
        return prepared.named.contains(kind) && find(kind) == nullptr;
    };
    const auto take = [&](RepositoryKind kind, Result<std::unique_ptr<Repository>> opened) -> Result<void> {
        if (!opened) return tl::make_unexpected(opened.error());
        prepared.opened[kind] = std::make_unique<RepositoryQueue>(executor_, std::move(*opened));
        return {};
    };
    const bool other_redis = prepared.named.contains(RepositoryKind::redis) && next.redis != redis_;
    if (needs(RepositoryKind::redis) || other_redis)
        if (auto taken = take(RepositoryKind::redis, open_redis_repository(next.redis)); !taken)
            return tl::make_unexpected(taken.error());
    if (needs(RepositoryKind::lmdb)) {
        const LmdbOptions options{next.state_dir / "repository", next.lmdb_bytes};
        if (auto taken = take(RepositoryKind::lmdb, open_lmdb_repository(options)); !taken)
            return tl::make_unexpected(taken.error());
    }
    return prepared;
}

std::set<RepositoryKind> Repositories::commit(Prepared prepared) {
    std::set<RepositoryKind> opened;
    for (auto& [kind, queue] : prepared.opened) {
        queues_[kind] = std::move(queue);
        opened.insert(kind);
    }
    std::erase_if(queues_, [&](const auto& entry) { return !prepared.named.contains(entry.first); });
    redis_ = std::move(prepared.redis);
    return opened;
}

std::set<std::string> Repositories::places(RepositoryKind kind) const {
    if (find(kind) == nullptr) return {};
    if (kind == RepositoryKind::lmdb) return {"state_dir"};
    std::set<std::string> places;
    for (const HostPort& node : redis_.nodes) places.insert(redis_.chassis + " at " + node.text());
    return places;
}

RepositoryQueue* Repositories::find(RepositoryKind kind) const {
    const auto found = queues_.find(kind);
    return found == queues_.end() ? nullptr : found->second.get();
}

}  // namespace keyrail
