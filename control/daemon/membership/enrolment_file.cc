// SPDX-License-Identifier: Apache-2.0
// Enrolment on the disk: JSON, every field checked when it is read.
#include <nlohmann/json.hpp>

#include "control/daemon/membership/enrolment.h"
#include "dataplane/common/hex.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

using nlohmann::json;

std::string Enrolment::written(const Entries& entries) {
    json list = json::array();
    for (const auto& [id, entry] : entries) {
        json one = {{"id", id}, {"revoked", entry.revoked}, {"certificates", nullptr}};
        if (entry.certificates) one["certificates"] = *entry.certificates;
        if (entry.blade)
            one["blade"] = {{"name", entry.blade->name},
                            {"address", entry.blade->address.text()},
                            {"agent", entry.blade->agent.text()},
                            {"pools", entry.pools}};
        if (entry.token)
            one["token"] = {{"sha256", to_hex(entry.token->hash)},
                            {"expires", entry.token->expires_s},
                            {"used", entry.token->used}};
        list.push_back(std::move(one));
    }
    return json{{"blades", list}}.dump(1) + "\n";
}

std::optional<Enrolment::Entries> Enrolment::read(const std::string& text) try {
    Entries entries;
    const json root = json::parse(text);
    for (const json& one : root.at("blades")) {
        const auto id = one.at("id").get<uint64_t>();
        if (id < BladeId::kMin || id > BladeId::kMax) return std::nullopt;
        Entry& entry = entries[BladeId::or_none(id)];
        entry.revoked = one.at("revoked").get<bool>();
        if (const json& serials = one.at("certificates"); !serials.is_null())
            entry.certificates = serials.get<std::set<std::string>>();
        if (one.contains("blade")) {
            const json& blade = one.at("blade");
            const auto address = parse_ip(blade.at("address").get<std::string>());
            const auto agent = parse_host_port(blade.at("agent").get<std::string>());
            if (!address || !agent) return std::nullopt;
            entry.blade.emplace();
            entry.blade->id = BladeId::or_none(id);
            entry.blade->name = blade.at("name").get<std::string>();
            entry.blade->address = *address;
            entry.blade->agent = *agent;
            entry.pools = blade.at("pools").get<std::vector<std::string>>();
        }
        if (one.contains("token")) {
            const json& token = one.at("token");
            const auto hash = from_hex(token.at("sha256").get<std::string>());
            entry.token = Token{};  // (clang 16 does not find emplace()'s constructor here)
            if (!hash || hash->size() != entry.token->hash.size()) return std::nullopt;
            std::ranges::copy(*hash, reinterpret_cast<char*>(entry.token->hash.data()));
            entry.token->expires_s = token.at("expires").get<int64_t>();
            entry.token->used = token.at("used").get<bool>();
        }
    }
    return entries;
} catch (const json::exception&) {
    return std::nullopt;
}

}  // namespace keyrail
