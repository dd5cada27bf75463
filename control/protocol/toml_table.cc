// SPDX-License-Identifier: Apache-2.0
// TomlTable: typed getters that collect mistakes; a hint for a misspelt key.
#include "control/protocol/toml_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <numeric>

namespace keyrail {

using std::chrono::microseconds;

namespace {

struct Unit {
    std::string_view name;
    int64_t us;
};
constexpr std::array<Unit, 6> kUnits = {{{"d", 86'400'000'000},
                                         {"h", 3'600'000'000},
                                         {"min", 60'000'000},
                                         {"s", 1'000'000},
                                         {"ms", 1000},
                                         {"us", 1}}};

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

/// Levenshtein distance: how many letters were mistyped.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); j++) {
            const size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

std::string advice(std::string_view key, const std::set<std::string, std::less<>>& known) {
    for (const std::string& candidate : known)
        if (key.size() < 64 && distance(key, candidate) <= 2)
            return fmt::format("did you mean '{}'?", candidate);
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

TomlTable::TomlTable(const toml::table& table, std::string name, ConfigErrors& errors)
    : table_(&table), name_(std::move(name)), errors_(&errors), line_(std::max(1u, line_of(table))) {}

const toml::node* TomlTable::find(std::string_view key, Need need) {
    known_.emplace(key);
    const toml::node* node = table_->get(key);
    if (!node && need == Need::required) errors_->add(line_, "{} has no '{}'; add it", name_, key);
    return node;
}

void TomlTable::wrong_type(const toml::node& node, std::string_view key, std::string_view expected) {
    errors_->add(line_of(node), "'{}' is {}; it must be {}", key, kind_of(node), expected);
}

std::optional<Located<std::string>> TomlTable::text(std::string_view key, Need need) {
    const toml::node* node = find(key, need);
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
    const toml::node* node = find(key, need);
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
    const toml::node* node = find(key, need);
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

const toml::array* TomlTable::list(std::string_view key, Need need) {
    const toml::node* node = find(key, need);
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
    const toml::array* array = list(key, need);
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
    const toml::array* array = list(key, need);
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
    const toml::node* node = find(key, need);
    if (!node) return std::nullopt;
    if (const toml::table* found = node->as_table())
        return TomlTable(*found, fmt::format("[{}]", key), *errors_);
    wrong_type(*node, key, fmt::format("a table, written once: [{}]", key));
    return std::nullopt;
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) {
    std::vector<TomlTable> found;
    const toml::node* node = find(key, Need::optional);
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

std::optional<toml::table> parse_toml(const std::filesystem::path& file, ConfigErrors& errors) {
    std::ifstream stream(file, std::ios::binary);
    std::error_code ignored;
    if (!stream || std::filesystem::is_directory(file, ignored)) {
        errors.add(0, "cannot be read; check that the file is there and that you may read it");
        return std::nullopt;
    }
    try {
        return toml::parse(stream, file.string());
    } catch (const toml::parse_error& error) {
        errors.add(error.source().begin.line, "{}; correct the TOML", error.description());
        return std::nullopt;
    }
}

Result<microseconds> parse_duration(std::string_view text) {
    int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    for (const Unit& known : kUnits) {
        if (error != std::errc{} || unit != known.name || count < 0) continue;
        if (count > std::chrono::microseconds::max().count() / known.us) break;
        return microseconds(count * known.us);
    }
    return fail(
        "'{}' is not a duration; write a whole number and a unit (us, ms, s, min, h, d), such as 20ms", text);
}

std::string duration_text(microseconds duration) {
    for (const Unit& unit : kUnits)
        if (duration.count() != 0 && duration.count() % unit.us == 0)
            return fmt::format("{}{}", duration.count() / unit.us, unit.name);
    return fmt::format("{}us", duration.count());
}

}  // namespace keyrail
