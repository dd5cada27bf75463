// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/blades/wishes.h"

#include <nlohmann/json.hpp>

#include "control/protocol/file.h"

namespace keyrail {

using nlohmann::json;

namespace {

constexpr size_t kMaxWishes = size_t{1} << 20;

bool read_blade(const json& entry, std::map<BladeId, BladeWish>& blades) {
    if (!entry.is_object() || !entry.value("id", json()).is_number_unsigned()) return false;
    const auto id = BladeId::from(entry["id"].get<uint64_t>());
    const json weight = entry.value("weight", json()), disabled = entry.value("disabled", json());
    if (!id || !weight.is_number_unsigned() || weight < 1 || weight > BladeWish::kWhole ||
        !disabled.is_boolean())
        return false;
    blades[*id] = {weight.get<uint32_t>(), disabled.get<bool>()};
    return true;
}

}  // namespace

Result<void> Wishes::load() {
    std::error_code error;
    if (!std::filesystem::exists(file_, error)) return {};
    const auto text = read_file(file_, kMaxWishes);
    if (!text) return tl::make_unexpected(text.error());
    const json root = json::parse(*text, nullptr, false);
    bool good = root.is_object() && root.value("blades", json()).is_array() &&
                root.value("services", json()).is_array();
    for (size_t i = 0; good && i < root["blades"].size(); i++) good = read_blade(root["blades"][i], blades_);
    for (size_t i = 0; good && i < root["services"].size(); i++) {
        good = root["services"][i].is_string();
        if (good) services_.insert(root["services"][i].get<std::string>());
    }
    if (!good)
        return fail("{}: damaged; remove it, then disable again what shall take nobody", file_.string());
    return {};
}

Result<void> Wishes::save(const Blades& blades, const Services& services) const {
    json list = json::array();
    for (const auto& [id, wish] : blades)
        list.push_back({{"id", id}, {"weight", wish.weight}, {"disabled", wish.disabled}});
    const json root = {{"blades", list}, {"services", services}};
    return replace_file(file_, root.dump() + "\n", 0600);
}

Result<void> Wishes::set(BladeId blade, const BladeWish& wish) {
    Blades next = blades_;
    if (wish == BladeWish{})
        next.erase(blade);
    else
        next[blade] = wish;
    if (auto saved = save(next, services_); !saved) return saved;
    blades_ = std::move(next);
    return {};
}

Result<void> Wishes::set_service(const std::string& name, bool disabled) {
    Services next = services_;
    disabled ? static_cast<void>(next.insert(name)) : static_cast<void>(next.erase(name));
    if (auto saved = save(blades_, next); !saved) return saved;
    services_ = std::move(next);
    return {};
}

BladeWish Wishes::of(BladeId blade) const {
    const auto found = blades_.find(blade);
    return found == blades_.end() ? BladeWish{} : found->second;
}

}  // namespace keyrail
