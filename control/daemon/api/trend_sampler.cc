// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/trend_sampler.h"

#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include "control/daemon/api/api.h"

namespace keyrail {

namespace {

/// From the answer of /v1/stats, which everybody sees.
TrendTotals totals_of(const Daemon& daemon, const nlohmann::json& stats) {
    TrendTotals totals;
    for (const auto& [id, blade] : daemon.blades().all())
        if (blade.connected && blade.reported) totals.blades[id] = {blade.resumed, blade.full};
    const nlohmann::json& moves = stats.at("moves");
    totals.moved = moves.at("moved");
    for (const char* end : {"refused", "lost", "unreachable"})
        totals.moves_failed += moves.at(end).get<uint64_t>();
    if (stats.contains("drops")) totals.drops = stats.at("drops").get<uint64_t>();
    totals.cpu_saved_s = stats.at("economics").at("handshake_cpu_saved_seconds");
    return totals;
}

}  // namespace

asio::awaitable<void> sample_trend(Daemon& daemon, asio::any_io_executor executor) {
    asio::steady_timer pause(executor);
    for (;;) {
        const nlohmann::json stats = co_await stats_json(daemon);
        daemon.trend().take(unix_ms(), totals_of(daemon, stats));
        asio::error_code ended;
        pause.expires_after(Trend::kEvery);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ended));
        if (ended) co_return;
    }
}

}  // namespace keyrail
