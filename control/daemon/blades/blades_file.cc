// SPDX-License-Identifier: Apache-2.0
// Blades: the file that keeps which of them drain, and which have taken clients.
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "control/daemon/blades/blades.h"
#include "control/protocol/file.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxFile = size_t{1} << 20;
using nlohmann::json;

uint64_t number(const json& entry, const char* key, uint64_t otherwise) {
    return entry.contains(key) && entry[key].is_number_unsigned() ? entry[key].get<uint64_t>() : otherwise;
}

std::string word(const json& entry, const char* key) {
    return entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>() : "";
}

/// 0: there is none, or it is none.
BladeId blade_id(const json& entry) {
    const uint64_t id = entry.is_object() ? number(entry, "id", 0) : 0;
    return BladeId::or_none(id);
}

std::optional<LeftBlade> read_taken(const json& entry) {
    const auto address = parse_ip(word(entry, "address"));
    const auto agent = parse_host_port(word(entry, "agent"));
    const BladeId id = blade_id(entry);
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
        const BladeId id = blade_id(entry);
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

Result<void> Blades::save(const std::map<BladeId, DrainOptions>& draining) const {
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

}  // namespace keyrail
