// SPDX-License-Identifier: Apache-2.0
// What `keyrail status`, `blade list` and `stats` say, in Prometheus' text format (version 0.0.4).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace keyrail {

inline constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

/// The reports as the API gives them (control/README.md). What a report does not have is left out: the
/// packets, for example, while keyrail-dp is away.
std::string metrics_text(const nlohmann::json& status, const nlohmann::json& blades,
                         const nlohmann::json& stats);

}  // namespace keyrail
