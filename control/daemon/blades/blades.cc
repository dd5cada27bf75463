// SPDX-License-Identifier: Apache-2.0
// Blades: events in, conditions out.
#include "control/daemon/blades/blades.h"

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

const char* text_of(BladeCondition condition) {
    switch (condition) {
        case BladeCondition::up:
            return "up";
        case BladeCondition::draining:
            return "draining";
        case BladeCondition::overloaded:
            return "overloaded";
        case BladeCondition::down:
            break;
    }
    return "down";
}

bool Blade::serves(uint16_t port) const {
    const auto found = listening.find(port);
    return found != listening.end() && found->second;
}

BladeCondition Blade::condition() const {
    if (!why_down().empty()) return BladeCondition::down;
    if (draining) return BladeCondition::draining;
    return overloaded ? BladeCondition::overloaded : BladeCondition::up;
}

std::string Blade::why_down() const {
    if (!reachable) return "does not answer";
    if (!reported) return connected ? "no health report yet" : "no agent";
    const bool serves_one =
        ports.empty() || std::ranges::any_of(ports, [&](uint16_t port) { return serves(port); });
    return serves_one ? "" : "no server listens";
}

Result<void> Blades::load() {
    std::error_code error;
    if (!fs::exists(file_, error)) return {};
    const auto text = read_file(file_, kMaxFile);
    if (!text) return tl::make_unexpected(text.error());
    const auto wrong = [&] {
        return fail("{}: damaged; remove it, then drain again the blades that shall drain", file_.string());
    };
    const auto root = nlohmann::json::parse(*text, nullptr, false);
    if (!root.is_object() || !root.contains("draining") || !root["draining"].is_array()) return wrong();
    const auto number = [](const nlohmann::json& entry, const char* key, uint64_t otherwise) {
        return entry.contains(key) && entry[key].is_number_unsigned() ? entry[key].get<uint64_t>()
                                                                      : otherwise;
    };
    for (const auto& entry : root["draining"]) {
        const uint64_t id = entry.is_object() ? number(entry, "id", 0) : 0;
        if (id < kBladeIdMin || id > kBladeIdMax) return wrong();
        DrainOptions& options = draining_[static_cast<uint16_t>(id)];
        options.rate = static_cast<uint32_t>(number(entry, "rate", options.rate));
        options.deadline_ms = number(entry, "deadline_ms", options.deadline_ms);
    }
    return {};
}

void Blades::configure(const Config& config) {
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
}

Result<void> Blades::set_draining(uint16_t id, std::optional<DrainOptions> options) {
    std::map<uint16_t, DrainOptions> next = draining_;
    if (options)
        next[id] = *options;
    else
        next.erase(id);
    if (next != draining_) {
        nlohmann::json list = nlohmann::json::array();
        for (const auto& [blade, how] : next)
            list.push_back({{"id", blade}, {"rate", how.rate}, {"deadline_ms", how.deadline_ms}});
        const nlohmann::json root = {{"draining", list}};
        if (auto written = replace_file(file_, root.dump() + "\n", 0600); !written) return written;
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
        const BladeCondition condition = blade.condition();
        return (condition == BladeCondition::up || condition == BladeCondition::overloaded) &&
               blade.serves(port);
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
    const BladeCondition before = blade->condition();
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
    return first || other_load || listened != blade->listening || before != blade->condition();
}

void Blades::connected(uint16_t id) {
    if (Blade* blade = find(id)) blade->connected = true;
}

void Blades::disconnected(uint16_t id) {
    if (Blade* blade = find(id)) blade->connected = false;
}

bool Blades::reachable(uint16_t id, bool answers) {
    Blade* blade = find(id);
    if (!blade || blade->reachable == answers) return false;
    blade->reachable = answers;
    if (!answers && !blade->connected) blade->reported = false;  // whatever comes back there must report anew
    return true;
}

}  // namespace keyrail
