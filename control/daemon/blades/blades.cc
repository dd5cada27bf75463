// SPDX-License-Identifier: Apache-2.0
// Blades: events in, conditions out.
#include "control/daemon/blades/blades.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "chassis.pb.h"
#include "control/protocol/file.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {
constexpr size_t kMaxFile = size_t{1} << 20;
constexpr size_t kMaxProblems = 32;
constexpr uint32_t kLoadStep = 4096;

/// Over the limit at once, below it only when an eighth of it is free: the load that goes away because of the
/// limit must not bring the blade back.
bool is_overloaded(const Blade& blade) {
    const uint32_t limit = kLoadMax * blade.config.load_limit / 100;
    return blade.load > (blade.overloaded ? limit - limit / 8 : limit);
}
}  // namespace

const char* text_of(BladeIntake intake) {
    switch (intake) {
        case BladeIntake::open:
            return "up";
        case BladeIntake::draining:
            return "draining";
        case BladeIntake::overloaded:
            return "overloaded";
        case BladeIntake::none:
            break;
    }
    return "down";
}

bool Blade::serves(uint16_t port) const {
    const auto found = listening.find(port);
    return found != listening.end() && found->second;
}

BladeIntake Blade::intake() const {
    if (!why_none().empty()) return BladeIntake::none;
    if (draining) return BladeIntake::draining;
    return overloaded ? BladeIntake::overloaded : BladeIntake::open;
}

std::string Blade::why_none() const {
    if (silent || gone) return "does not answer";
    if (!reported) return connected ? "no health report yet" : "no agent";
    const bool serves_one =
        ports.empty() || std::ranges::any_of(ports, [&](uint16_t port) { return serves(port); });
    return serves_one ? "" : "no server listens";
}

// --- the file
// ---------------------------------------------------------------------------------------------------------

namespace {

using nlohmann::json;

uint64_t number(const json& entry, const char* key, uint64_t otherwise) {
    return entry.contains(key) && entry[key].is_number_unsigned() ? entry[key].get<uint64_t>() : otherwise;
}

std::string word(const json& entry, const char* key) {
    return entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>() : "";
}

/// 0: there is none, or it is none.
uint16_t blade_id(const json& entry) {
    const uint64_t id = entry.is_object() ? number(entry, "id", 0) : 0;
    return id >= kBladeIdMin && id <= kBladeIdMax ? static_cast<uint16_t>(id) : uint16_t{0};
}

std::optional<LeftBlade> read_taken(const json& entry) {
    const auto address = parse_ip(word(entry, "address"));
    const auto agent = parse_host_port(word(entry, "agent"));
    const uint16_t id = blade_id(entry);
    if (id == 0 || !address || !agent) return std::nullopt;
    return LeftBlade{id, word(entry, "name"), *address, *agent, number(entry, "left_until_ms", 0)};
}

json to_json(const LeftBlade& blade) {
    return {{"id", blade.id},
            {"name", blade.name},
            {"address", blade.address.text()},
            {"agent", blade.agent.text()},
            {"left_until_ms", blade.until_ms}};
}

}  // namespace

Result<void> Blades::load() {
    std::error_code error;
    if (!fs::exists(file_, error)) return {};
    const auto text = read_file(file_, kMaxFile);
    if (!text) return tl::make_unexpected(text.error());
    const auto wrong = [&] {
        return fail("{}: damaged; remove it, then drain again the blades that shall drain", file_.string());
    };
    const auto root = json::parse(*text, nullptr, false);
    if (!root.is_object() || !root.contains("draining") || !root["draining"].is_array()) return wrong();
    for (const auto& entry : root["draining"]) {
        const uint16_t id = blade_id(entry);
        if (id == 0) return wrong();
        DrainOptions& options = draining_[id];
        options.rate = static_cast<uint32_t>(number(entry, "rate", options.rate));
        options.deadline_ms = number(entry, "deadline_ms", options.deadline_ms);
    }
    if (!root.contains("taken")) return {};  // of an older release
    if (!root["taken"].is_array()) return wrong();
    for (const auto& entry : root["taken"]) {
        const auto blade = read_taken(entry);
        if (!blade) return wrong();
        (blade->until_ms == 0 ? taken_ : left_).insert_or_assign(blade->id, *blade);
    }
    return {};
}

Result<void> Blades::save(const std::map<uint16_t, DrainOptions>& draining) const {
    json drains = json::array(), taken = json::array();
    for (const auto& [blade, how] : draining)
        drains.push_back({{"id", blade}, {"rate", how.rate}, {"deadline_ms", how.deadline_ms}});
    for (const auto* blades : {&taken_, &left_})
        for (const auto& [id, blade] : *blades) taken.push_back(to_json(blade));
    const json root = {{"draining", drains}, {"taken", taken}};
    return replace_file(file_, root.dump() + "\n", 0600);
}

/// Who has taken clients matters after a restart with another configuration; nothing waits for it.
void Blades::save_or_warn() const {
    if (const auto saved = save(draining_); !saved)
        spdlog::warn("blades: {}; flows of blades that leave the configuration are not kept over a restart",
                     saved.error().message);
}

// --- the configuration
// ------------------------------------------------------------------------------------------------

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
    const auto revoked = [&](uint16_t id) {
        return std::ranges::find(config.revoked, id) != config.revoked.end();
    };
    const auto stays = [&](uint16_t id) { return !config.blades.contains(id) && !revoked(id); };
    const auto before = left_.size();
    std::erase_if(left_, [&](const auto& entry) { return !stays(entry.first); });
    bool changed = left_.size() != before;
    for (auto known = taken_.begin(); known != taken_.end();) {
        const uint16_t id = known->first;
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
        blade.config = blade_config;
        const auto drains = draining_.find(id);
        blade.draining = drains != draining_.end();
        if (blade.draining) blade.drain = drains->second;
        blade.ports.clear();
    }
    for (const ServiceConfig& service : config.services)
        for (const uint16_t id : service.members()) blades_[id].ports.insert(service.port);
    if (changed) save_or_warn();
}

bool Blades::forget_left(uint64_t now_ms) {
    if (std::erase_if(left_, [&](const auto& entry) { return entry.second.until_ms <= now_ms; }) == 0)
        return false;
    save_or_warn();
    return true;
}

Result<void> Blades::set_draining(uint16_t id, std::optional<DrainOptions> options) {
    std::map<uint16_t, DrainOptions> next = draining_;
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

Blade* Blades::find(uint16_t id) {
    const auto found = blades_.find(id);
    return found == blades_.end() ? nullptr : &found->second;
}

size_t Blades::serving(const std::vector<uint16_t>& pool, uint16_t port) const {
    return static_cast<size_t>(std::ranges::count_if(pool, [&](uint16_t id) {
        const Blade& blade = blades_.at(id);
        const BladeIntake intake = blade.intake();
        return (intake == BladeIntake::open || intake == BladeIntake::overloaded) && blade.serves(port);
    }));
}

bool Blades::all_reported() const {
    return std::ranges::all_of(blades_, [](const auto& entry) { return entry.second.reported; });
}

bool Blades::hello(uint16_t id, const chassis::AgentHello& hello) {
    Blade* blade = find(id);
    if (!blade) return false;
    const bool was_unable = blade->unable_to_accept();
    blade->version = hello.version();
    blade->kernel = hello.kernel();
    blade->accept_program = hello.accept_program();
    blade->problems.clear();
    for (const std::string& problem : hello.problems())
        if (blade->problems.size() < kMaxProblems) blade->problems.push_back(problem);
    return was_unable != blade->unable_to_accept();
}

bool Blades::health(uint16_t id, const chassis::Health& health) {
    Blade* blade = find(id);
    if (!blade) return false;
    const BladeIntake before = blade->intake();
    const std::map<uint16_t, bool> listened = std::exchange(blade->listening, {});
    for (const auto& server : health.servers())
        if (blade->ports.contains(static_cast<uint16_t>(server.port())))
            blade->listening[static_cast<uint16_t>(server.port())] = server.listening();
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
    taken(*blade);
    return first || other_load || listened != blade->listening || before != blade->intake();
}

void Blades::connected(uint16_t id) {
    if (Blade* blade = find(id)) blade->connected = true;
}

void Blades::disconnected(uint16_t id) {
    if (Blade* blade = find(id)) blade->connected = false;
}

bool Blades::silent(uint16_t id, bool silent) {
    Blade* blade = find(id);
    if (!blade || blade->silent == silent) return false;
    blade->silent = silent;
    if (silent && !blade->connected) blade->reported = false;  // whatever comes back there must report anew
    return true;
}

bool Blades::gone(uint16_t id, bool gone) {
    if (const auto left = left_.find(id); left != left_.end())
        return std::exchange(left->second.gone, gone) != gone;
    Blade* blade = find(id);
    return blade && std::exchange(blade->gone, gone) != gone;
}

}  // namespace keyrail
