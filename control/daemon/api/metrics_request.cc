// SPDX-License-Identifier: Apache-2.0
// API: everything as metrics, for Prometheus.
#include "control/daemon/api/api.h"
#include "control/daemon/api/metrics.h"

namespace keyrail {

namespace {

asio::awaitable<ApiReply> metrics(Daemon& daemon, ApiCall) {
    const nlohmann::json stats = co_await stats_json(daemon);
    co_return ApiReply{200, metrics_text(status_json(daemon), blades_json(daemon), stats), kMetricsType};
}

}  // namespace

std::span<const ApiRoute> metrics_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/metrics", metrics}};
    return kRoutes;
}

asio::awaitable<ApiReply> answer_metrics(Daemon& daemon, ApiRequest request) {
    ApiCall call;  // GCC 12 destroys it twice where it is made within the co_await
    if (request.method == "GET" && request.path == "/metrics")
        co_return co_await metrics(daemon, std::move(call));
    co_return error_reply(404, "here are /metrics and nothing else");
}

}  // namespace keyrail
