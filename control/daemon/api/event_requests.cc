// SPDX-License-Identifier: Apache-2.0
// API: what happened, and who did it.
#include <charconv>

#include "control/daemon/api/api.h"

namespace keyrail {

using nlohmann::json;

namespace {

asio::awaitable<ApiReply> list_events(Daemon& daemon, ApiCall call) {
    const auto since = since_of(call);
    if (!since) co_return error_reply(400, "the query is not understood; write since=NUMBER");
    if (call.follows) {
        ApiReply reply;
        reply.follow = Follow{*since, false, ""};
        co_return reply;
    }
    json events = json::array();
    for (const Event& event : daemon.events().since(*since)) events.push_back(event_json(event));
    co_return json_reply({{"events", events}, {"last", daemon.events().last()}});
}

}  // namespace

std::optional<uint64_t> since_of(const ApiCall& call) {
    constexpr std::string_view kSince = "since=";
    std::string_view text = call.query;
    if (!text.empty() && !text.starts_with(kSince)) return std::nullopt;
    if (!text.empty()) text.remove_prefix(kSince.size());
    // Who was cut off says what it heard last, and asks the same once more.
    if (call.follows && !call.last_event.empty()) text = call.last_event;
    if (text.empty() && call.query.empty()) return 0;
    uint64_t id = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), id);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
    return id;
}

json event_json(const Event& event) {
    return {{"id", event.id},
            {"unix_ms", event.unix_ms},
            {"kind", event.kind},
            {"actor", event.actor},
            {"text", event.text}};
}

std::span<const ApiRoute> event_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/events", list_events}};
    return kRoutes;
}

}  // namespace keyrail
