// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/configured_before.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/protocol/file.h"

namespace keyrail {

using nlohmann::json;

Result<void> ConfiguredBefore::load() {
    std::error_code error;
    if (!std::filesystem::exists(file_, error)) return {};
    const auto text = read_file(file_, kMaxStateFile);
    if (!text) return tl::make_unexpected(text.error());
    if (read(*text)) return {};
    return fail(
        "{}: damaged; remove it. Repositories begin empty then, and sessions of removed services can only be "
        "purged with all others",
        file_.string());
}

bool ConfiguredBefore::read(const std::string& text) try {
    const json root = json::parse(text);
    auto services = root.at("services").get<std::set<std::string>>();
    auto left = root.at("left").get<std::map<std::string, uint64_t>>();
    repositories_ = root.at("repositories").get<decltype(repositories_)>();
    services_ = std::move(services);
    left_ = std::move(left);
    return true;
} catch (const json::exception&) {
    return false;
}

std::string ConfiguredBefore::written() const {
    return json{{"services", services_}, {"left", left_}, {"repositories", repositories_}}.dump(1) + "\n";
}

Result<void> ConfiguredBefore::save() {
    if (!changed_ || file_.empty()) return {};
    auto saved = replace_file(file_, written(), 0600);
    if (saved) changed_ = false;
    return saved;
}

/// One that is there again is no other one: its sessions are the same as before.
void ConfiguredBefore::services(const std::vector<ServiceConfig>& now, uint64_t now_ms) {
    std::set<std::string> names;
    for (const ServiceConfig& service : now) names.insert(service.name);
    auto left = left_;
    for (const std::string& name : services_)
        if (!names.contains(name)) left[name] = now_ms;
    std::erase_if(left, [&](const auto& entry) {
        return names.contains(entry.first) || now_ms > entry.second + kForMs;
    });
    while (left.size() > kMaxLeft)
        left.erase(std::ranges::min_element(left, {}, [](const auto& entry) { return entry.second; }));
    if (names == services_ && left == left_) return;
    services_ = std::move(names);
    left_ = std::move(left);
    changed_ = true;
}

/// One that shares a place with the last one is the same.
bool ConfiguredBefore::repository(const std::string& kind, const std::set<std::string>& places) {
    auto& counted = repositories_[kind];
    const bool counts =
        std::ranges::any_of(places, [&](const auto& place) { return counted.contains(place); });
    emptied(kind, counts ? places : std::set<std::string>());
    return counts;
}

void ConfiguredBefore::emptied(const std::string& kind, const std::set<std::string>& places) {
    auto& counted = repositories_[kind];
    if (counted == places) return;
    counted = places;
    changed_ = true;
}

std::optional<uint64_t> ConfiguredBefore::left_ms(const std::string& service) const {
    const auto found = left_.find(service);
    return found == left_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace keyrail
