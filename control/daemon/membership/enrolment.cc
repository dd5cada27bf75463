// SPDX-License-Identifier: Apache-2.0
// Enrolment: tokens, and what follows from them for the configuration.
#include "control/daemon/membership/enrolment.h"

#include <fmt/chrono.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <fstream>

#include "control/pki/join_token.h"
#include "control/protocol/file.h"

namespace keyrail {

using std::chrono::seconds;
using std::chrono::system_clock;

namespace {

int64_t unix_s(Enrolment::Time time) { return system_clock::to_time_t(time); }

std::array<uint8_t, 32> hash_of(std::string_view secret) {
    std::array<uint8_t, 32> hash{};
    SHA256(reinterpret_cast<const uint8_t*>(secret.data()), secret.size(), hash.data());
    return hash;
}

/// What is impossible in a wish; checked before anything is changed.
Result<void> check_wish(const Enrolment::Wish& wish, const Config& configured) {
    if (wish.valid < Enrolment::kShortest || wish.valid > Enrolment::kLongest)
        return fail("a token can be valid from {} s to {} s, not {} s", Enrolment::kShortest.count(),
                    Enrolment::kLongest.count(), wish.valid.count());
    if (configured.blades.contains(wish.id)) {
        if (wish.address || !wish.pools.empty() || !wish.name.empty())
            return fail("blade {} stands in {}: its name, address and pools are there; leave them out here",
                        wish.id, configured.file.string());
        return {};
    }
    if (wish.pools.empty()) return fail("blade {} needs a pool: --pools NAME,…", wish.id);
    if (!wish.address) return fail("blade {} needs its address on the backplane: --address", wish.id);
    for (const std::string& pool : wish.pools)
        if (!configured.pools.contains(pool))
            return fail("there is no pool '{}'; add a [[pool]] of that name to {}", pool,
                        configured.file.string());
    return {};
}

/// Why this blade cannot be added to those that are there.
Result<void> check_unique(const BladeConfig& blade, const Config& config) {
    for (const auto& [id, other] : config.blades) {
        if (id == blade.id) continue;
        if (other.name == blade.name) return fail("the name '{}' is blade {}'s", blade.name, id);
        if (other.address == blade.address || other.agent == blade.agent)
            return fail("the address {} is blade {}'s", blade.address.text(), id);
    }
    for (const ServiceConfig& service : config.services)
        if (std::ranges::find(service.addresses, blade.address) != service.addresses.end())
            return fail("the address {} is a VIP of service '{}'", blade.address.text(), service.name);
    return {};
}

void leave_out(Config& config, BladeId id) {
    config.blades.erase(id);
    for (auto& [name, ids] : config.pools) std::erase(ids, id);
    std::erase_if(config.ticket_keys, [&](const TicketKeyConfig& key) { return key.blade == id; });
}

}  // namespace

Enrolment::Entry Enrolment::entry(BladeId id) const {
    const auto found = entries_.find(id);
    return found == entries_.end() ? Entry{} : found->second;
}

Result<void> Enrolment::replace(BladeId id, Entry entry) {
    Entries next = entries_;
    next[id] = std::move(entry);
    if (auto kept = replace_file(file_, written(next), 0600); !kept) return kept;
    entries_ = std::move(next);
    return {};
}

Result<void> Enrolment::load() {
    std::error_code error;
    if (!std::filesystem::exists(file_, error)) return {};
    constexpr size_t kMaxBytes = size_t{16} << 20;
    const auto text = read_file(file_, kMaxBytes);
    if (!text) return tl::make_unexpected(text.error());
    auto entries = read(*text);
    if (!entries)
        return fail("{}: damaged; bring it back from a backup (it says which blades are revoked)",
                    file_.string());
    entries_ = std::move(*entries);
    return {};
}

Result<std::string> Enrolment::invite(const Wish& wish, const Config& configured, Time now) {
    if (auto good = check_wish(wish, configured); !good) return tl::make_unexpected(good.error());
    Entry next = entry(wish.id);
    if (!configured.blades.contains(wish.id)) {
        next.blade.emplace();
        next.blade->id = wish.id;
        next.blade->name = wish.name;
        next.blade->address = *wish.address;
        next.blade->agent = {*wish.address, kAgentPort};
        if (wish.name.empty()) next.blade->name = fmt::format("blade-{}", wish.id);
        next.pools = wish.pools;
        if (!next.certificates) next.certificates.emplace();  // only those that we make
        Config others = configured;
        merge(others);
        if (auto unique = check_unique(*next.blade, others); !unique)
            return tl::make_unexpected(unique.error());
    }
    std::string secret(JoinToken::kSecretSize, '\0');
    if (RAND_priv_bytes(reinterpret_cast<uint8_t*>(secret.data()), JoinToken::kSecretSize) != 1)
        return fail("no random bytes from the system");
    next.token = Token{hash_of(secret), unix_s(now + wish.valid), false};
    if (auto kept = replace(wish.id, std::move(next)); !kept) return tl::make_unexpected(kept.error());
    return secret;
}

Result<BladeId> Enrolment::check(std::string_view secret, Time now) const {
    const auto hash = hash_of(secret);
    for (const auto& [id, entry] : entries_) {
        if (!entry.token || CRYPTO_memcmp(entry.token->hash.data(), hash.data(), hash.size()) != 0) continue;
        if (entry.token->used)
            return fail(
                "the token of blade {} was used already; each is good for one join: 'keyrail blade enroll "
                "{}' makes another",
                id, id);
        if (unix_s(now) >= entry.token->expires_s)
            return fail(
                "the token of blade {} expired at {:%Y-%m-%dT%H:%M:%SZ}; 'keyrail blade enroll {}' makes "
                "another",
                id, fmt::gmtime(entry.token->expires_s), id);
        return id;
    }
    return fail(
        "the token is not known; a newer one for the same blade has replaced it, or it is another chassis'");
}

Result<void> Enrolment::admit(BladeId id, const std::string& serial) {
    Entry next = entry(id);
    if (next.token) next.token->used = true;
    next.revoked = false;
    next.certificates = {serial};
    return replace(id, std::move(next));
}

Result<void> Enrolment::renew(BladeId id, const std::string& shown, const std::string& serial) {
    Entry next = entry(id);
    if (!next.certificates) return {};
    next.certificates = {shown, serial};
    return replace(id, std::move(next));
}

Result<void> Enrolment::revoke(BladeId id) {
    Entry next;
    next.revoked = true;
    next.certificates.emplace();
    return replace(id, std::move(next));
}

bool Enrolment::revoked(BladeId id) const { return entry(id).revoked; }

std::vector<BladeId> Enrolment::revoked() const {
    std::vector<BladeId> ids;
    for (const auto& [id, entry] : entries_)
        if (entry.revoked) ids.push_back(id);
    return ids;
}

std::vector<std::string> Enrolment::merge(Config& config) const {
    std::vector<std::string> problems;
    for (const auto& [id, entry] : entries_) {
        if (entry.revoked) config.revoked.push_back(id);
        // Invited again: it is no longer out, but no certificate of it is good until it has joined.
        if (entry.revoked && !entry.token) {
            leave_out(config, id);
            continue;
        }
        if (!config.blades.contains(id) && entry.blade) {
            if (auto unique = check_unique(*entry.blade, config); !unique) {
                problems.push_back(
                    fmt::format("blade {}, which was enrolled, is left out: {}", id, unique.error().message));
                continue;
            }
            config.blades.emplace(id, *entry.blade);
            for (const std::string& name : entry.pools)
                if (const auto pool = config.pools.find(name); pool != config.pools.end())
                    pool->second.insert(std::ranges::upper_bound(pool->second, id), id);
                else
                    problems.push_back(
                        fmt::format("blade {} was enrolled for pool '{}', which is gone", id, name));
        }
        if (const auto blade = config.blades.find(id); blade != config.blades.end())
            blade->second.certificates = entry.certificates;
    }
    assign_pools(config);
    return problems;
}

}  // namespace keyrail
