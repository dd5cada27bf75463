// SPDX-License-Identifier: Apache-2.0
// Blades: events in, conditions out.
#include "control/daemon/blades/blades.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "chassis.pb.h"

namespace keyrail {

namespace {
constexpr size_t kMaxProblems = 32;
constexpr uint32_t kLoadStep = 4096;

/// Over the limit at once, below it only when an eighth of it is free: the load that goes away because of the
/// limit must not bring the blade back.
bool is_overloaded(const Blade& blade) {
    const uint32_t limit = kLoadMax * blade.config.load_limit / 100;
    return blade.load > (blade.overloaded ? limit - limit / 8 : limit);
}
}  // namespace

// --- the configuration ---

/// It takes clients: when it leaves the configuration, they are to stay with it.
void Blades::taken(const Blade& blade) {
    if (blade.intake() == BladeIntake::none) return;
    const BladeConfig& config = blade.config;
    const LeftBlade now{config.id, config.name, config.address, config.agent};
    const auto [known, fresh] = taken_.try_emplace(config.id, now);
    const bool same = known->second.address == now.address && known->second.agent == now.agent;
    if (!fresh && same) return;
    known->second = now;
    save_or_warn();
}

void Blades::configure(const Config& config, uint64_t now_ms) {
    const auto revoked = [&](BladeId id) {
        return std::ranges::find(config.revoked, id) != config.revoked.end();
    };
    const auto stays = [&](BladeId id) { return !config.blades.contains(id) && !revoked(id); };
    const auto before = left_.size();
    std::erase_if(left_, [&](const auto& entry) { return !stays(entry.first); });
    bool changed = left_.size() != before;
    for (auto known = taken_.begin(); known != taken_.end();) {
        const BladeId id = known->first;
        if (config.blades.contains(id)) {
            ++known;
            continue;
        }
        if (stays(id)) {
            LeftBlade& blade = left_[id] = known->second;
            blade.until_ms = now_ms + kLeftMs;
            if (const Blade* was = find(id)) blade.gone = was->gone;
            spdlog::info("blades: {} ({}) is configured no more; its flows live on", blade.name, id);
        }
        known = taken_.erase(known);
        changed = true;
    }
    std::erase_if(blades_, [&](const auto& entry) { return !config.blades.contains(entry.first); });
    for (const auto& [id, blade_config] : config.blades) {
        Blade& blade = blades_[id];
        // Another limit: whether the blade was over the old one says nothing of it.
        if (blade.config.load_limit != blade_config.load_limit) blade.overloaded = false;
        blade.config = blade_config;
        blade.overloaded = is_overloaded(blade);
        const auto drains = draining_.find(id);
        blade.draining = drains != draining_.end();
        if (blade.draining) blade.drain = drains->second;
        blade.ports.clear();
        blade.services.clear();
    }
    least_healthy_.clear();
    for (const ServiceConfig& service : config.services) {
        if (const auto check = config.checks.find(service.pool);
            check != config.checks.end() && check->second.fail_open != 0)
            least_healthy_[service.name] = check->second.fail_open;
        for (const BladeId id : service.members()) {
            Blade& blade = blades_[id];
            blade.ports.insert(service.port);
            for (const IpAddress& address : service.addresses)
                blade.services[service.name].push_back({address, service.port});
        }
    }
    compare();
    if (changed) save_or_warn();
}

bool Blades::forget_left(uint64_t now_ms) {
    if (std::erase_if(left_, [&](const auto& entry) { return entry.second.until_ms <= now_ms; }) == 0)
        return false;
    save_or_warn();
    return true;
}

Result<void> Blades::set_draining(BladeId id, std::optional<DrainOptions> options) {
    std::map<BladeId, DrainOptions> next = draining_;
    if (options)
        next[id] = *options;
    else
        next.erase(id);
    if (next != draining_) {
        if (auto written = save(next); !written) return written;
        draining_ = std::move(next);
    }
    if (Blade* blade = find(id)) {
        blade->draining = options.has_value();
        blade->drain = options.value_or(DrainOptions{});
    }
    return {};
}

Blade* Blades::find(BladeId id) {
    const auto found = blades_.find(id);
    return found == blades_.end() ? nullptr : &found->second;
}

size_t Blades::serving(const std::vector<BladeId>& pool, const ServiceConfig& service) const {
    return static_cast<size_t>(std::ranges::count_if(pool, [&](BladeId id) {
        const Blade& blade = blades_.at(id);
        const BladeIntake intake = blade.intake();
        return (intake == BladeIntake::open || intake == BladeIntake::overloaded) &&
               blade.serves(service.port) && blade.serves_best(service.name);
    }));
}

bool Blades::all_reported() const {
    return std::ranges::all_of(blades_, [](const auto& entry) { return entry.second.reported; });
}

bool Blades::hello(BladeId id, const chassis::AgentHello& hello) {
    Blade* blade = find(id);
    if (!blade) return false;
    const bool worked = blade->version.empty() || blade->accept_program;
    blade->version = hello.version();
    blade->kernel = hello.kernel();
    blade->accept_program = hello.accept_program();
    blade->problems.clear();
    for (const std::string& problem : hello.problems())
        if (blade->problems.size() < kMaxProblems) blade->problems.push_back(problem);
    return worked != blade->accept_program;
}

namespace {

/// Of addresses that the blade has services at; what else an agent may say does not matter.
std::map<HostPort, ServedAddress> read_addresses(const Blade& blade, const chassis::Health& health) {
    std::map<HostPort, ServedAddress> read;
    for (const auto& [name, all] : blade.services)
        for (const HostPort& at : all) read.emplace(at, ServedAddress{});
    std::set<HostPort> said;
    for (const auto& server : health.servers())
        for (const auto& endpoint : server.endpoints()) {
            const auto address = parse_ip(endpoint.address());
            const auto at = address && server.port() <= UINT16_MAX
                                ? read.find({*address, static_cast<uint16_t>(server.port())})
                                : read.end();
            if (at == read.end()) continue;
            said.insert(at->first);
            at->second = {endpoint.listening(), endpoint.address_here(), endpoint.mptcp(), endpoint.hangs(),
                          endpoint.hooks() == chassis::ServerHealth::HOOKS_ABSENT};
        }
    std::erase_if(read, [&](const auto& entry) { return !said.contains(entry.first); });
    return read;
}

constexpr size_t kMaxReasons = 32, kMaxReason = 64;  // how many, how long

}  // namespace

/// Where fewer are healthy than `fail_open` says, it is likelier that the check is wrong, or that all have
/// the same trouble, than that the rest can carry all clients.
void Blades::count_healthy() {
    open_.clear();
    for (const auto& [service, percent] : least_healthy_) {
        size_t all = 0, healthy = 0;
        for (const auto& [id, blade] : blades_) {
            const auto known = blade.checks.find(service);
            if (known == blade.checks.end() || blade.gone) continue;
            all++;
            healthy += known->second.health != CheckVerdict::Health::down ? 1 : 0;
        }
        if (100 * healthy < percent * all) open_.insert(service);
    }
    for (auto& [id, blade] : blades_) blade.fail_open = open_;
}

/// Where no blade serves a service well, those that are ill are better than nothing: a busy moment must not
/// close them all. True: that has changed for somebody.
bool Blades::compare() {
    count_healthy();
    std::set<std::string> served;
    for (const auto& [id, blade] : blades_) {
        if (!blade.reported || blade.silent || blade.gone || blade.wish.disabled) continue;
        for (const auto& [service, at] : blade.services)
            if (blade.serves_well(service)) served.insert(service);
    }
    bool changed = false;
    for (auto& [id, blade] : blades_) {
        const BladeIntake before = blade.intake();
        blade.unserved.clear();
        for (const auto& [service, at] : blade.services)
            if (!served.contains(service)) blade.unserved.insert(service);
        changed |= before != blade.intake();
    }
    return changed;
}

bool Blades::health(BladeId id, const chassis::Health& health) {
    Blade* blade = find(id);
    if (!blade) return false;
    const BladeIntake before = blade->intake();
    const std::map<uint16_t, bool> listened = std::exchange(blade->listening, {});
    for (const auto& server : health.servers())
        if (blade->ports.contains(static_cast<uint16_t>(server.port())))
            blade->listening[static_cast<uint16_t>(server.port())] = server.listening();
    const auto served = std::exchange(blade->addresses, read_addresses(*blade, health));
    blade->accepted.clear();
    for (const auto& count : health.accept())
        if (blade->accepted.size() < kMaxReasons && count.reason().size() <= kMaxReason)
            blade->accepted[count.reason()] = count.count();
    const bool first = !std::exchange(blade->reported, true);
    blade->load = std::min(health.load(), kLoadMax);
    blade->keys_version = health.keys_version();
    blade->overloaded = is_overloaded(*blade);
    blade->sessions = health.sessions();
    blade->store_bytes = health.store_bytes();
    blade->resumed = health.resumed();
    blade->full = health.full();
    const uint32_t moved = blade->load > blade->published_load ? blade->load - blade->published_load
                                                               : blade->published_load - blade->load;
    const bool other_load = moved >= kLoadStep;
    if (other_load) blade->published_load = blade->load;
    const bool compared = compare();
    taken(*blade);
    return first || other_load || compared || listened != blade->listening || served != blade->addresses ||
           before != blade->intake();
}

void Blades::connected(BladeId id) {
    if (Blade* blade = find(id)) blade->connected = true;
}

void Blades::disconnected(BladeId id) {
    if (Blade* blade = find(id)) blade->connected = false;
}

bool Blades::silent(BladeId id, bool silent) {
    Blade* blade = find(id);
    if (!blade || blade->silent == silent) return false;
    blade->silent = silent;
    if (silent && !blade->connected) blade->reported = false;  // whatever comes back there must report anew
    compare();
    return true;
}

bool Blades::gone(BladeId id, bool gone) {
    if (const auto left = left_.find(id); left != left_.end())
        return std::exchange(left->second.gone, gone) != gone;
    Blade* blade = find(id);
    if (!blade || std::exchange(blade->gone, gone) == gone) return false;
    compare();
    return true;
}

/// Whether its word counts.
bool Blades::mute(BladeId id, bool mute) {
    Blade* blade = find(id);
    if (!blade || std::exchange(blade->mute, mute) == mute) return false;
    compare();
    return true;
}

bool Blades::checked(BladeId id, const std::string& service, const std::optional<CheckVerdict>& verdict) {
    Blade* blade = find(id);
    if (!blade) return false;
    const auto known = blade->checks.find(service);
    const CheckVerdict before = known == blade->checks.end() ? CheckVerdict{} : known->second;
    if (verdict)
        blade->checks.insert_or_assign(service, *verdict);
    else
        blade->checks.erase(service);
    const CheckVerdict now = verdict.value_or(CheckVerdict{});
    if (before.health == now.health && before.share == now.share) return false;
    compare();
    return true;
}

bool Blades::wished(BladeId id, const BladeWish& wish) {
    Blade* blade = find(id);
    if (!blade || blade->wish == wish) return false;
    blade->wish = wish;
    compare();
    return true;
}

}  // namespace keyrail
