// SPDX-License-Identifier: Apache-2.0
#include "control/agent/pool_keys.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "chassis.pb.h"
#include "control/repository/pool_key.h"

namespace keyrail {

bool PoolKeys::replace(const chassis::PoolKeys& keys) {
    const std::map<std::string, uint32_t> before = newest();
    std::map<Id, Held> next;
    for (const chassis::PoolKey& key : keys.keys()) {
        const Id id{key.service(), key.generation()};
        if (next.size() >= kMaxKeys) break;
        if (const auto held = keys_.find(id); held != keys_.end() && held->second.wrapped == key.wrapped()) {
            next.insert(keys_.extract(held));
            continue;
        }
        const auto opened = unwrap_pool_key(key, tls_);
        if (!opened) {
            spdlog::warn("pool key {} of '{}': {}", id.second, id.first, opened.error().message);
            continue;
        }
        next.emplace(id, Held{key.wrapped(), SealingKey(*opened)});
    }
    keys_ = std::move(next);
    const std::map<std::string, uint32_t> now = newest();
    return std::ranges::any_of(now, [&](const auto& entry) {
        const auto old = before.find(entry.first);
        return old == before.end() || old->second < entry.second;
    });
}

std::map<std::string, uint32_t> PoolKeys::newest() const {
    std::map<std::string, uint32_t> generations;
    for (const auto& [id, held] : keys_) generations[id.first] = id.second;
    return generations;
}

Result<chassis::PoolKeys> PoolKeys::wrap(const chassis::WrapPoolKey& question) const {
    PoolKeyBytes bytes;
    if (question.make()) {
        if (RAND_priv_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
            return fail("no random bytes from the system");
    } else if (const SealingKey* const key = find(question.service(), question.generation())) {
        bytes = key->bytes();
    } else {
        return fail("generation {} of '{}' is not here", question.generation(), question.service());
    }
    chassis::PoolKeys answer;
    for (const std::string& certificate : question.certificates()) {
        auto wrapped = wrap_pool_key(bytes, question.service(), question.generation(), certificate, tls_);
        if (wrapped)
            *answer.add_keys() = std::move(*wrapped);
        else
            spdlog::warn("pool key of '{}': {}", question.service(), wrapped.error().message);
    }
    return answer;
}

PoolKeys::Current PoolKeys::current(const std::string& service) const {
    auto after = keys_.upper_bound({service, UINT32_MAX});
    if (after == keys_.begin() || (--after)->first.first != service) return {};
    return {after->first.second, &after->second.key};
}

const SealingKey* PoolKeys::find(const std::string& service, uint32_t generation) const {
    const auto held = keys_.find({service, generation});
    return held == keys_.end() ? nullptr : &held->second.key;
}

}  // namespace keyrail
