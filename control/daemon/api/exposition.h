// SPDX-License-Identifier: Apache-2.0
// Metrics as text: Prometheus' own format (version 0.0.4) or OpenMetrics 1.0.0. Families come one after the
// other, each followed by its samples. One thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keyrail {

enum class MetricsFormat : uint8_t { prometheus, openmetrics };

/// What an Accept header field (RFC 9110 section 12.5.1) would rather have; Prometheus' own where it does not
/// say.
MetricsFormat wanted_format(std::string_view accept);
/// Of the answer.
const char* type_of(MetricsFormat format);

class Exposition {
  public:
    using Labels = std::vector<std::pair<std::string_view, std::string>>;

    explicit Exposition(MetricsFormat format) : format_(format) {}

    // --- a family: its name without "keyrail_", unless it is of the process; what it says of itself ---
    /// Its name ends in "_total".
    void counter(std::string_view name, std::string_view help);
    void gauge(std::string_view name, std::string_view help);
    /// Its name ends in "_info"; the samples are 1, what they say is in the labels.
    void info(std::string_view name, std::string_view help);
    void histogram(std::string_view name, std::string_view help);

    /// Of the family before. A number or a boolean; anything else (null: not known) is no sample.
    void sample(const nlohmann::json& value, const Labels& labels = {}, std::string_view suffix = "");
    /// `steps`: [{le_us, count}], cumulative; `sum_us`, `count`: of all. In seconds.
    void histogram_samples(const nlohmann::json& steps, const nlohmann::json& sum_us,
                           const nlohmann::json& count, const Labels& labels = {});

    [[nodiscard]] std::string text() &&;

  private:
    void family(std::string_view name, std::string_view type, std::string_view ending, std::string_view help);

    MetricsFormat format_;
    std::string name_, text_;
};

}  // namespace keyrail
