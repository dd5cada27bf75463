// SPDX-License-Identifier: Apache-2.0
// What `keyrail status`, `blade list` and `stats` say, and more of keyraild itself, as metrics.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "control/daemon/api/exposition.h"

namespace keyrail {

/// As the API gives them (control/README.md), and `control` as daemon_report() makes it.
struct MetricsReports {
    nlohmann::json status, blades, stats, control;
};

/// What a report does not have is left out: the packets, for example, while keyrail-dp is away. Names and
/// units are Prometheus' (promtool check metrics); no series is of a client, a server name or a blade that is
/// not configured.
std::string metrics_text(const MetricsReports& reports, MetricsFormat format);

}  // namespace keyrail
