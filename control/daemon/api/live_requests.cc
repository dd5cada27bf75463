// SPDX-License-Identifier: Apache-2.0
// API: the whole chassis at one moment, once or again and again, and how it has done lately: what the page
// (page/) shows. Its parts are the answers of /v1/status, /v1/blades and /v1/stats.
#include <fmt/format.h>

#include "control/daemon/api/api.h"

namespace keyrail {

using nlohmann::json;

namespace {

std::string line_of(const json& body) { return body.dump(-1, ' ', false, json::error_handler_t::replace); }

json sample_json(const TrendSample& sample) {
    return {{"unix_ms", sample.unix_ms}, {"seconds", sample.seconds},
            {"resumed", sample.resumed}, {"full", sample.full},
            {"moved", sample.moved},     {"moves_failed", sample.moves_failed},
            {"drops", sample.drops},     {"cpu_saved_s", sample.cpu_saved_s}};
}

/// The counters' texts never change: /v1/stats has them.
asio::awaitable<json> live_json(Daemon& daemon) {
    json stats = co_await stats_json(daemon);
    stats.erase("counters");
    const History& history = daemon.applying().history();
    json report = {{"unix_ms", unix_ms()},
                   {"status", status_json(daemon)},
                   {"blades", blades_json(daemon)},
                   {"stats", std::move(stats)},
                   {"config", {{"revision", history.in_force()}, {"pending", pending_json(history)}}},
                   {"trend", nullptr}};
    if (const auto& samples = daemon.trend().samples(); !samples.empty())
        report["trend"] = sample_json(samples.back());
    co_return report;
}

json you_json(const Actor& actor) {
    return {{"name", actor.name}, {"role", actor.role == Role::admin ? "admin" : "read"}};
}

asio::awaitable<ApiReply> live(Daemon& daemon, ApiCall call) {
    const auto since = since_of(call);
    if (!since) co_return error_reply(400, "the query is not understood; write since=NUMBER");
    if (call.follows) {
        const json hello = {{"you", you_json(call.actor)}, {"version", KEYRAIL_VERSION}};
        ApiReply reply;
        reply.follow = Follow{*since, true, frame_of("hello", line_of(hello))};
        co_return reply;
    }
    json report = co_await live_json(daemon);
    report["you"] = you_json(call.actor);
    co_return json_reply(report);
}

asio::awaitable<ApiReply> trend(Daemon& daemon, ApiCall) {
    json samples = json::array();
    for (const TrendSample& sample : daemon.trend().samples()) samples.push_back(sample_json(sample));
    co_return json_reply({{"every_s", Trend::kEvery.count()}, {"samples", std::move(samples)}});
}

}  // namespace

std::string frame_of(std::string_view event, const std::string& data, uint64_t id) {
    return fmt::format("{}event: {}\ndata: {}\n\n", id == 0 ? "" : fmt::format("id: {}\n", id), event, data);
}

asio::awaitable<News> tell_followers(Daemon& daemon, uint64_t since, bool chassis) {
    News news;
    for (const Event& event : daemon.events().since(since))
        news.events.emplace_back(event.id, frame_of("event", line_of(event_json(event)), event.id));
    if (chassis) {
        const json now = co_await live_json(daemon);
        news.chassis = frame_of("chassis", line_of(now));
    }
    co_return news;
}

std::span<const ApiRoute> live_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/live", live},
                                        ApiRoute{"GET", "/v1/trend", trend}};
    return kRoutes;
}

}  // namespace keyrail
