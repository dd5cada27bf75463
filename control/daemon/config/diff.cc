// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/config/diff.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <tuple>

#include "control/protocol/toml_table.h"

namespace keyrail {

namespace {

using Keys = std::map<std::string, std::string>;
using Objects = std::map<std::string, Keys>;

std::string written(const toml::node& node) {
    std::ostringstream text;
    if (const auto* value = node.as_string()) {
        // "120min" and "2h" are the same.
        const auto duration = parse_duration(value->get());
        text << '"' << (duration ? duration_text(*duration) : value->get()) << '"';
    } else if (const auto* list = node.as_array()) {
        std::vector<std::string> items;
        for (const toml::node& item : *list) items.push_back(written(item));
        std::ranges::sort(items);
        text << fmt::format("[{}]", fmt::join(items, ", "));
    } else {
        node.visit([&](const auto& other) { text << other; });
    }
    return text.str();
}

/// What tells an object of a list from the others of its kind.
std::string name_in(const toml::table& table) {
    std::string name;
    for (const char* key : {"id", "name", "sni", "alpn"}) {
        const toml::node* node = table.get(key);
        if (!node || (std::string_view(key) == "name" && !name.empty())) continue;
        name += (name.empty() ? "" : " ") + (node->is_string() ? node->as_string()->get() : written(*node));
    }
    return name.empty() ? "without a name" : name;
}

void collect(const toml::table& table, const std::string& object, Objects& all) {
    Keys& keys = all[object];
    for (const auto& [key, node] : table) {
        const std::string name(key.str());
        const auto* list = node.as_array();
        const bool objects = list && !list->empty() && list->is_array_of_tables();
        if (!objects && !node.is_table()) keys[name] = written(node);
        const std::string parent = object.empty() ? "" : object + " ";
        if (const auto* one = node.as_table())
            collect(*one, parent + (object.empty() ? fmt::format("[{}]", name) : name), all);
        for (size_t i = 0; objects && i < list->size(); i++) {
            const toml::table& one = *list->get(i)->as_table();
            const std::string kind = object.empty() ? fmt::format("[[{}]]", name) : name;
            collect(one, fmt::format("{}{} {}", parent, kind, name_in(one)), all);
        }
    }
}

Result<Objects> read(const std::string& text) {
    ConfigErrors errors("the configuration");
    const auto table = parse_toml_text(text, "the configuration", errors);
    if (!table) return fail("{}", fmt::join(errors.lines(), "\n"));
    Objects objects;
    collect(*table, "", objects);
    objects.erase("");
    return objects;
}

std::string whole(const Keys& keys) {
    std::string text;
    for (const auto& [key, value] : keys)
        text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", key, value);
    return text;
}

}  // namespace

Result<std::vector<ConfigChange>> diff_configs(const std::string& before, const std::string& after) {
    const auto old = read(before), next = read(after);
    if (!old) return tl::make_unexpected(old.error());
    if (!next) return tl::make_unexpected(next.error());
    std::vector<ConfigChange> changes;
    for (const auto& [object, keys] : *old)
        if (!next->contains(object)) changes.push_back({object, "", whole(keys), ""});
    for (const auto& [object, keys] : *next) {
        const auto was = old->find(object);
        if (was == old->end()) {
            changes.push_back({object, "", "", whole(keys)});
            continue;
        }
        for (const auto& [key, value] : was->second)
            if (!keys.contains(key)) changes.push_back({object, key, value, ""});
        for (const auto& [key, value] : keys) {
            const auto then = was->second.find(key);
            const std::string earlier = then == was->second.end() ? "" : then->second;
            if (earlier != value) changes.push_back({object, key, earlier, value});
        }
    }
    std::ranges::sort(changes, {},
                      [](const ConfigChange& change) { return std::tie(change.object, change.key); });
    return changes;
}

}  // namespace keyrail
