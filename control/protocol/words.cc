// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/words.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

namespace keyrail {

using std::chrono::microseconds;

namespace {

struct Unit {
    std::string_view name;
    int64_t us;
};
constexpr std::array<Unit, 7> kUnits = {{{"d", 86'400'000'000},
                                         {"h", 3'600'000'000},
                                         {"min", 60'000'000},
                                         {"m", 60'000'000},
                                         {"s", 1'000'000},
                                         {"ms", 1000},
                                         {"us", 1}}};

/// The whole number in front, and what follows it; nullopt: there is none.
template <typename Number>
std::optional<std::pair<Number, std::string_view>> split_number(std::string_view text) {
    Number count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{}) return std::nullopt;
    return std::pair{count, text.substr(static_cast<size_t>(end - text.data()))};
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

}  // namespace

Result<microseconds> parse_duration(std::string_view text) {
    const auto split = split_number<int64_t>(text);
    for (const Unit& known : kUnits) {
        if (!split || split->second != known.name || split->first < 0) continue;
        if (split->first > microseconds::max().count() / known.us) break;
        return microseconds(split->first * known.us);
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

Result<uint32_t> parse_rate(std::string_view text) {
    const auto split = split_number<uint32_t>(text);
    const uint32_t per = !split                                             ? 0
                         : split->second.empty() || split->second == "/s"   ? 1
                         : split->second == "/min" || split->second == "/m" ? 60
                                                                            : 0;
    if (per == 0)
        return fail("'{}' is not a rate; write a whole number and /s or /min, such as 2000/s", text);
    if (split->first == 0 || split->first % per != 0)
        return fail("'{}' is no whole number a second; write 1/s or more, or a multiple of 60/min", text);
    return split->first / per;
}

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known) {
    constexpr size_t kLongest = 64;
    std::optional<std::string> best;
    size_t least = 3;
    for (const std::string& candidate : known) {
        if (word.size() >= kLongest || candidate.size() >= kLongest) continue;
        const size_t far = distance(word, candidate);
        // Of a short word two letters are nearly all of it.
        if (far >= least || far * 2 > std::max(word.size(), candidate.size())) continue;
        least = far;
        best = candidate;
    }
    return best;
}

}  // namespace keyrail
