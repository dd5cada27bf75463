// SPDX-License-Identifier: Apache-2.0
#include "control/repository/pool_key_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "control/protocol/file.h"

namespace keyrail {

namespace {

constexpr size_t kMaxFile = size_t{64} << 20;
constexpr size_t kMaxPerQuestion = 200;  // certificates: below the size of a frame

}  // namespace

Result<void> PoolKeyKeeper::load() {
    std::error_code error;
    if (!std::filesystem::exists(file_, error)) return {};
    const auto bytes = read_file(file_, kMaxFile);
    if (!bytes) return tl::make_unexpected(bytes.error());
    chassis::PoolKeys stored;
    if (!stored.ParseFromString(*bytes))
        return fail("{}: damaged; remove it: what is in the repository is then lost", file_.string());
    for (const chassis::PoolKey& key : stored.keys()) {
        Generation& generation = keys_[{key.service(), key.generation()}];
        generation.made_ms = key.made_ms();
        generation.retired = key.retired();
        generation.wrapped[key.recipient()] = key;
    }
    return {};
}

void PoolKeyKeeper::save() {
    version_++;
    chassis::PoolKeys all;
    for (const auto& [id, generation] : keys_)
        for (const auto& [recipient, key] : generation.wrapped) {
            chassis::PoolKey& kept = *all.add_keys() = key;
            kept.set_made_ms(generation.made_ms);
            kept.set_retired(generation.retired);
        }
    if (auto saved = replace_file(file_, all.SerializeAsString(), 0600); !saved)
        spdlog::warn("pool keys: {}", saved.error().message);
}

/// A key is needed for as long as a session sealed with it may live.
void PoolKeyKeeper::drop_old(const SealedService& service, uint64_t now_ms) {
    bool dropped = false;
    for (auto key = keys_.lower_bound({service.name, 0});
         key != keys_.end() && key->first.first == service.name;) {
        const auto newer = std::next(key);
        if (newer == keys_.end() || newer->first.first != service.name) break;
        const bool old = newer->second.made_ms + service.lifetime_ms < now_ms;
        key = old ? keys_.erase(key) : newer;
        dropped |= old;
    }
    if (dropped) save();
}

void PoolKeyKeeper::ask(const Id& id, bool make, const std::vector<BladeId>& able,
                        const std::vector<std::string>& lacking, uint64_t now_ms, const Send& send) {
    const auto asked = questions_.find(id);
    if (able.empty() || lacking.empty() ||
        (asked != questions_.end() && now_ms < asked->second.asked_ms + kPatienceMs))
        return;
    const BladeId blade = able[turns_++ % able.size()];
    questions_[id] = {blade, now_ms, make};
    chassis::Envelope message;
    chassis::WrapPoolKey& question = *message.mutable_wrap_pool_key();
    question.set_service(id.first);
    question.set_generation(id.second);
    question.set_make(make);
    for (const std::string& certificate : lacking)
        if (static_cast<size_t>(question.certificates_size()) < kMaxPerQuestion)
            question.add_certificates(certificate);
    send(blade, std::move(message));
}

void PoolKeyKeeper::poll(const SealedService& service, const Members& members, uint64_t now_ms,
                         const Send& send) {
    drop_old(service, now_ms);
    std::vector<BladeId> here;
    for (const BladeId blade : service.blades)
        if (members.contains(blade)) here.push_back(blade);
    std::vector<std::string> all;
    for (const BladeId blade : here) all.push_back(members.at(blade).certificate);

    uint32_t newest = 0;
    bool fresh = false;
    for (auto& [id, generation] : keys_) {
        if (id.first != service.name) continue;
        newest = id.second;
        fresh = !generation.retired && generation.made_ms + kLifetimeMs > now_ms;
        std::vector<BladeId> able;
        std::vector<std::string> lacking;
        for (const BladeId blade : here) {
            const bool has = generation.wrapped.contains(members.at(blade).recipient);
            has ? able.push_back(blade) : lacking.push_back(members.at(blade).certificate);
        }
        ask(id, false, able, lacking, now_ms, send);
    }
    if (!fresh) ask({service.name, newest + 1}, true, here, all, now_ms, send);
}

void PoolKeyKeeper::poll(std::span<const SealedService> services, const Members& members, uint64_t now_ms,
                         const Send& send) {
    for (const SealedService& service : services) poll(service, members, now_ms, send);
}

bool PoolKeyKeeper::add(BladeId blade, const chassis::PoolKeys& answer, uint64_t now_ms) {
    bool added = false;
    for (const chassis::PoolKey& key : answer.keys()) {
        const Id id{key.service(), key.generation()};
        const auto question = questions_.find(id);
        if (question == questions_.end() || question->second.blade != blade || keys_.size() >= kMaxKeys)
            continue;
        const auto known = keys_.find(id);
        if (question->second.make != (known == keys_.end()) && !added) continue;  // somebody else was quicker
        Generation& generation = keys_[id];
        if (known == keys_.end()) generation.made_ms = now_ms;
        generation.wrapped[key.recipient()] = key;
        added = true;
    }
    for (const chassis::PoolKey& key : answer.keys()) {
        const auto question = questions_.find({key.service(), key.generation()});
        if (question != questions_.end() && question->second.blade == blade) questions_.erase(question);
    }
    if (added) save();
    return added;
}

chassis::PoolKeys PoolKeyKeeper::keys_of(const std::string& recipient) const {
    chassis::PoolKeys mine;
    for (const auto& [id, generation] : keys_)
        if (const auto key = generation.wrapped.find(recipient); key != generation.wrapped.end())
            *mine.add_keys() = key->second;
    return mine;
}

void PoolKeyKeeper::revoke(const std::string& recipient) {
    for (auto& [id, generation] : keys_)
        if (generation.wrapped.erase(recipient) != 0) generation.retired = true;
    save();
}

}  // namespace keyrail
