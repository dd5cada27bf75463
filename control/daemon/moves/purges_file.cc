// SPDX-License-Identifier: Apache-2.0
// Purges on the disk: JSON, every field checked when it is read.
#include <nlohmann/json.hpp>

#include "control/daemon/moves/purges.h"
#include "dataplane/common/hex.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

using nlohmann::json;

std::string Purges::written() const {
    json list = json::array();
    for (const Purge& purge : purges_) {
        json one = {
            {"number", purge.message.number()}, {"made_ms", purge.made_ms}, {"answered", json::array()}};
        for (const BladeId blade : purge.answered) one["answered"].push_back(uint16_t{blade});
        if (purge.what.name)
            one["name"] = to_hex(*purge.what.name);
        else if (purge.what.everything())
            one["all"] = true;
        else
            one["service"] = purge.message.service();
        list.push_back(std::move(one));
    }
    return json{{"purges", list}}.dump(1) + "\n";
}

std::optional<std::vector<Purges::Purge>> Purges::read(const std::string& text) try {
    std::vector<Purge> purges;
    const json root = json::parse(text);
    for (const json& one : root.at("purges")) {
        Purge& purge = purges.emplace_back();
        purge.message.set_number(one.at("number").get<uint64_t>());
        purge.made_ms = one.at("made_ms").get<uint64_t>();
        for (const json& blade : one.at("answered")) {
            const auto number = blade.get<uint64_t>();
            if (number > BladeId::kMax) return std::nullopt;
            purge.answered.insert(BladeId::or_none(number));  // 0: Purges::kRepositories
        }
        const bool all = one.contains("all") && one.at("all").get<bool>();
        purge.message.set_all(all);
        if (one.contains("service")) purge.message.set_service(one.at("service").get<std::string>());
        if (one.contains("name")) {
            const auto name = from_hex(one.at("name").get<std::string>());
            if (!name) return std::nullopt;
            purge.message.set_name(*name);
        }
        const auto what = Purged::from(purge.message);
        if (!what || what->everything() != all) return std::nullopt;
        purge.what = *what;
    }
    if (purges.size() > kMax) return std::nullopt;
    return purges;
} catch (const json::exception&) {
    return std::nullopt;
}

}  // namespace keyrail
