// SPDX-License-Identifier: Apache-2.0
// TomlTable: typed getters that collect mistakes; a hint for a misspelt key.
#include "control/protocol/toml_table.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace keyrail {

using std::chrono::microseconds;

namespace {

uint32_t line_of(const toml::node& node) { return node.source().begin.line; }

/// What stands there, for people.
std::string_view kind_of(const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get().empty() ? "an empty text" : "a text";
    if (const auto* list = node.as_array()) return list->empty() ? "an empty list" : "a list";
    if (node.is_table()) return "a table";
    if (node.is_integer()) return "a whole number";
    if (node.is_floating_point()) return "a number with a fraction";
    return node.is_boolean() ? "true or false" : "a date or time";
}

std::string advice(std::string_view key, const std::set<std::string, std::less<>>& known) {
    const std::vector<std::string> candidates(known.begin(), known.end());
    if (const auto close = nearest(key, candidates)) return fmt::format("did you mean '{}'?", *close);
    return fmt::format("remove it, or use one of: {}", fmt::join(known, ", "));
}

}  // namespace

std::vector<std::string> ConfigErrors::lines() const {
    std::vector<Line> sorted = lines_;
    std::ranges::stable_sort(sorted, {}, &Line::number);
    std::vector<std::string> texts;
    for (Line& line : sorted) texts.push_back(std::move(line.text));
    return texts;
}

void ConfigErrors::ask(AskedKey key) {
    const auto same = [&](const AskedKey& one) { return one.table == key.table && one.key == key.key; };
    const auto known = std::ranges::find_if(asked_, same);
    if (known == asked_.end())
        asked_.push_back(std::move(key));
    else
        *known = std::move(key);  // asked again, for something narrower
}

TomlTable::TomlTable(const toml::table& table, std::string name, ConfigErrors& errors)
    : table_(&table), name_(std::move(name)), errors_(&errors), line_(std::max(1u, line_of(table))) {}

const toml::node* TomlTable::find(std::string_view key, Need need, std::string type) {
    errors_->ask({name_, std::string(key), std::move(type), need == Need::required});
    return find_table(key, need);
}

const toml::node* TomlTable::find_table(std::string_view key, Need need) {
    known_.emplace(key);
    const toml::node* node = table_->get(key);
    if (!node && need == Need::required) errors_->add(line_, "{} has no '{}'; add it", name_, key);
    return node;
}

void TomlTable::wrong_type(const toml::node& node, std::string_view key, std::string_view expected) {
    errors_->add(line_of(node), "'{}' is {}; it must be {}", key, kind_of(node), expected);
}

std::optional<Located<std::string>> TomlTable::text(std::string_view key, Need need) {
    const toml::node* node = find(key, need, "text");
    if (!node) return std::nullopt;
    const auto* value = node->as_string();
    if (!value || value->get().empty()) {
        wrong_type(*node, key, "a text in quotes");
        return std::nullopt;
    }
    return Located<std::string>{value->get(), line_of(*node)};
}

bool TomlTable::in_range(const toml::node& node, std::string_view key, int64_t value, int64_t min,
                         int64_t max) {
    if (value >= min && value <= max) return true;
    errors_->add(line_of(node), "'{}' is {}; it must be from {} to {}", key, value, min, max);
    return false;
}

std::optional<Located<int64_t>> TomlTable::integer(std::string_view key, int64_t min, int64_t max,
                                                   Need need) {
    const toml::node* node = find(key, need, fmt::format("whole number, {} to {}", min, max));
    if (!node) return std::nullopt;
    const auto* value = node->as_integer();
    if (!value) {
        wrong_type(*node, key, "a whole number, without quotes");
        return std::nullopt;
    }
    if (!in_range(*node, key, value->get(), min, max)) return std::nullopt;
    return Located<int64_t>{value->get(), line_of(*node)};
}

std::optional<Located<bool>> TomlTable::boolean(std::string_view key, Need need) {
    const toml::node* node = find(key, need, "true or false");
    if (!node) return std::nullopt;
    const auto* value = node->as_boolean();
    if (!value) {
        wrong_type(*node, key, "true or false, without quotes");
        return std::nullopt;
    }
    return Located<bool>{value->get(), line_of(*node)};
}

std::optional<Located<microseconds>> TomlTable::duration(std::string_view key, microseconds min,
                                                         microseconds max, Need need) {
    const auto written = text(key, need);
    errors_->ask({name_, std::string(key),
                  fmt::format("duration, {} to {}", duration_text(min), duration_text(max)),
                  need == Need::required});
    if (!written) return std::nullopt;
    const auto parsed = parse_duration(written->value);
    if (!parsed) {
        errors_->add(written->line, "'{}': {}", key, parsed.error().message);
        return std::nullopt;
    }
    if (*parsed < min || *parsed > max) {
        errors_->add(written->line, "'{}' is {}; it must be from {} to {}", key, written->value,
                     duration_text(min), duration_text(max));
        return std::nullopt;
    }
    return Located<microseconds>{*parsed, written->line};
}

const toml::array* TomlTable::list(std::string_view key, Need need, std::string type) {
    const toml::node* node = find(key, need, std::move(type));
    if (!node) return nullptr;
    const toml::array* array = node->as_array();
    if (!array || array->empty()) {
        wrong_type(*node, key, "a list with something in it: [ … ]");
        return nullptr;
    }
    return array;
}

std::vector<Located<std::string>> TomlTable::texts(std::string_view key, Need need) {
    std::vector<Located<std::string>> values;
    const toml::array* array = list(key, need, "list of texts");
    for (size_t i = 0; array && i < array->size(); i++) {
        const toml::node& item = *array->get(i);
        if (const auto* value = item.as_string())
            values.push_back({value->get(), line_of(item)});
        else
            wrong_type(item, key, R"(a list of nothing but texts: ["one", "two"])");
    }
    return values;
}

std::vector<Located<int64_t>> TomlTable::integers(std::string_view key, int64_t min, int64_t max, Need need) {
    std::vector<Located<int64_t>> values;
    const toml::array* array = list(key, need, fmt::format("list of whole numbers, {} to {}", min, max));
    for (size_t i = 0; array && i < array->size(); i++) {
        const toml::node& item = *array->get(i);
        const auto* value = item.as_integer();
        if (!value)
            wrong_type(item, key, "a list of nothing but whole numbers: [1, 2]");
        else if (in_range(item, key, value->get(), min, max))
            values.push_back({value->get(), line_of(item)});
    }
    return values;
}

std::optional<TomlTable> TomlTable::table(std::string_view key, Need need) {
    const toml::node* node = find_table(key, need);
    if (!node) return std::nullopt;
    if (const toml::table* found = node->as_table())
        return TomlTable(*found, fmt::format("[{}]", key), *errors_);
    wrong_type(*node, key, fmt::format("a table, written once: [{}]", key));
    return std::nullopt;
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) {
    std::vector<TomlTable> found;
    const toml::node* node = find_table(key, Need::optional);
    if (!node) return found;
    const toml::array* array = node->as_array();
    const auto wrong = [&](const toml::node& at) {
        wrong_type(at, key, fmt::format("a table in double brackets: [[{}]]", key));
    };
    if (!array) wrong(*node);
    for (size_t i = 0; array && i < array->size(); i++) {
        const toml::node& item = *array->get(i);
        if (const toml::table* one = item.as_table())
            found.emplace_back(*one, fmt::format("[[{}]]", key), *errors_);
        else
            wrong(item);
    }
    return found;
}

void TomlTable::finish() {
    for (const auto& [key, node] : *table_)
        if (!known_.contains(key.str()))
            errors_->add(key.source().begin.line, "unknown key '{}' in {}; {}", key.str(), name_,
                         advice(key.str(), known_));
}

std::optional<std::string> read_text(const std::filesystem::path& file, ConfigErrors& errors) {
    std::ifstream stream(file, std::ios::binary);
    std::error_code ignored;
    if (!stream || std::filesystem::is_directory(file, ignored)) {
        errors.add(0, "cannot be read; check that the file is there and that you may read it");
        return std::nullopt;
    }
    return std::string{std::istreambuf_iterator<char>(stream), {}};
}

std::optional<toml::table> parse_toml_text(std::string_view text, const std::filesystem::path& file,
                                           ConfigErrors& errors) {
    try {
        return toml::parse(text, file.string());
    } catch (const toml::parse_error& error) {
        errors.add(error.source().begin.line, "{}; correct the TOML", error.description());
        return std::nullopt;
    }
}

std::optional<toml::table> parse_toml(const std::filesystem::path& file, ConfigErrors& errors) {
    const auto text = read_text(file, errors);
    if (!text) return std::nullopt;
    return parse_toml_text(*text, file, errors);
}

}  // namespace keyrail
