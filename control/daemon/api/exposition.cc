// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/exposition.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace keyrail {

using nlohmann::json;

namespace {

std::string_view trim(std::string_view text) {
    while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
    while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
    return text;
}

/// What stands before `separator`, taken off `text`.
std::string_view next_part(std::string_view& text, char separator) {
    const size_t end = std::min(text.find(separator), text.size());
    const std::string_view part = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return out;
}

/// "0.75"; what is no number counts as 1.
double quality_of(std::string_view text) {
    double quality = 1;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), quality);
    return read.ec == std::errc() && quality >= 0 ? std::min(quality, 1.0) : 1;
}

std::string escaped(std::string_view text, bool quotes) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || (quotes && c == '"')) out += '\\';
        out += c == '\n' ? "\\n" : std::string(1, c);
    }
    return out;
}

/// As Prometheus writes numbers, so that the same bound is the same label everywhere.
std::string bound_text(double seconds) {
    std::string text = fmt::format("{}", seconds);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

}  // namespace

MetricsFormat wanted_format(std::string_view accept) {
    double open = 0, plain = 0;
    while (!accept.empty()) {
        std::string_view range = next_part(accept, ',');
        const std::string type = lower(next_part(range, ';'));
        double quality = 1;
        bool ours = true;
        while (!range.empty()) {
            std::string_view parameter = next_part(range, ';');
            const std::string name = lower(next_part(parameter, '='));
            if (name == "q") quality = quality_of(parameter);
            if (name == "version") ours = trim(parameter) == "1.0.0";
        }
        if (type == "application/openmetrics-text" && ours) open = std::max(open, quality);
        if (type == "text/plain" || type == "text/*" || type == "*/*") plain = std::max(plain, quality);
    }
    return open > 0 && open >= plain ? MetricsFormat::openmetrics : MetricsFormat::prometheus;
}

const char* type_of(MetricsFormat format) {
    return format == MetricsFormat::openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                                : "text/plain; version=0.0.4; charset=utf-8";
}

/// OpenMetrics' families have no ending: its samples have.
void Exposition::family(std::string_view name, std::string_view type, std::string_view ending,
                        std::string_view help) {
    const bool open = format_ == MetricsFormat::openmetrics;
    name_ = name.starts_with("process_") ? std::string(name) : fmt::format("keyrail_{}", name);
    std::string_view known = name_;
    if (open) known.remove_suffix(ending.size());
    if (!open && type == "info") type = "gauge";
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", known, escaped(help, open), known, type);
}

void Exposition::counter(std::string_view name, std::string_view help) {
    family(name, "counter", "_total", help);
}
void Exposition::gauge(std::string_view name, std::string_view help) { family(name, "gauge", "", help); }
void Exposition::info(std::string_view name, std::string_view help) { family(name, "info", "_info", help); }
void Exposition::histogram(std::string_view name, std::string_view help) {
    family(name, "histogram", "", help);
}

void Exposition::sample(const json& value, const Labels& labels, std::string_view suffix) {
    if (!value.is_number() && !value.is_boolean()) return;
    text_ += name_;
    text_ += suffix;
    char before = '{';
    for (const auto& [label, text] : labels) {
        text_ += std::exchange(before, ',');
        text_ += label;
        text_ += "=\"";
        text_ += escaped(text, true);
        text_ += '"';
    }
    if (!labels.empty()) text_ += '}';
    text_ += ' ';
    text_ += value.is_boolean() ? (value.get<bool>() ? "1" : "0") : value.dump();
    text_ += '\n';
}

void Exposition::histogram_samples(const json& steps, const json& sum_us, const json& count,
                                   const Labels& labels) {
    Labels with = labels;
    with.emplace_back("le", "");
    for (const json& step : steps) {
        with.back().second = bound_text(step["le_us"].get<double>() / 1e6);
        sample(step["count"], with, "_bucket");
    }
    with.back().second = "+Inf";
    sample(count, with, "_bucket");
    sample(sum_us.get<double>() / 1e6, labels, "_sum");
    sample(count, labels, "_count");
}

std::string Exposition::text() && {
    if (format_ == MetricsFormat::openmetrics) text_ += "# EOF\n";
    return std::move(text_);
}

}  // namespace keyrail
