// SPDX-License-Identifier: Apache-2.0
// API: moves, those under way and the latest.
#include "control/daemon/api/api.h"

#include "dataplane/common/hex.h"

namespace keyrail {

using nlohmann::json;

namespace {

json move_json(const MoveOrder& order) {
    return {
        {"order", order.id},        {"session", to_hex(std::span<const uint8_t>(order.name))},
        {"from", order.from},       {"to", order.to},
        {"service", order.service}, {"source", order.source == MoveSource::holder ? "holder" : "repository"}};
}

/// Those under way, and those that ended last.
asio::awaitable<ApiReply> move_list(Daemon& daemon, ApiCall) {
    constexpr size_t kMost = 1000;
    const auto now = std::chrono::steady_clock::now();
    json under_way = json::array(), latest = json::array();
    daemon.moves().orders().each([&](const MoveOrder& order, std::chrono::steady_clock::time_point started) {
        json move = move_json(order);
        move["for_us"] = std::chrono::duration_cast<std::chrono::microseconds>(now - started).count();
        under_way.push_back(std::move(move));
        return under_way.size() < kMost;
    });
    for (const PastMove& past : daemon.latest_moves().all()) {
        json move = move_json(past.order);
        move["number"] = past.number;
        move["result"] = text_of(past.result);
        move["ended_ms"] = past.ended_ms;
        move["took_us"] = past.took.count();
        latest.push_back(std::move(move));
    }
    co_return json_reply({{"under_way", under_way}, {"latest", latest}});
}

}  // namespace

std::span<const ApiRoute> move_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/moves", move_list}};
    return kRoutes;
}

}  // namespace keyrail
