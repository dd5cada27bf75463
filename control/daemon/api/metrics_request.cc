// SPDX-License-Identifier: Apache-2.0
// API: everything as metrics, for Prometheus.
#include "control/daemon/api/api.h"
#include "control/daemon/api/daemon_report.h"
#include "control/daemon/api/metrics.h"

namespace keyrail {

namespace {

asio::awaitable<ApiReply> metrics(Daemon& daemon, ApiCall call) {
    MetricsReports reports;
    reports.stats = co_await stats_json(daemon);
    reports.status = status_json(daemon);
    reports.blades = blades_json(daemon);
    reports.control = daemon_report(daemon);
    const MetricsFormat format = wanted_format(call.accept);
    co_return ApiReply{200, metrics_text(reports, format), type_of(format)};
}

}  // namespace

std::span<const ApiRoute> metrics_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/metrics", metrics}};
    return kRoutes;
}

asio::awaitable<ApiReply> answer_metrics(Daemon& daemon, ApiRequest request) {
    ApiCall call;  // GCC 12 destroys it twice where it is made within the co_await
    call.accept = std::move(request.accept);
    if (request.method == "GET" && request.path == "/metrics")
        co_return co_await metrics(daemon, std::move(call));
    co_return error_reply(404, "here are /metrics and nothing else");
}

}  // namespace keyrail
