// SPDX-License-Identifier: Apache-2.0
// API: what happened, and who did it.
#include <charconv>

#include "control/daemon/api/api.h"

namespace keyrail {

using nlohmann::json;

namespace {

/// The number behind "since="; 0 without; nullopt: the query says something else.
std::optional<uint64_t> since_of(std::string_view query) {
    constexpr std::string_view kSince = "since=";
    uint64_t id = 0;
    if (query.empty()) return id;
    if (!query.starts_with(kSince)) return std::nullopt;
    query.remove_prefix(kSince.size());
    const auto read = std::from_chars(query.data(), query.data() + query.size(), id);
    if (query.empty() || read.ec != std::errc() || read.ptr != query.data() + query.size())
        return std::nullopt;
    return id;
}

asio::awaitable<ApiReply> list_events(Daemon& daemon, ApiCall call) {
    const auto since = since_of(call.query);
    if (!since) co_return error_reply(400, "the query is not understood; write since=NUMBER");
    json events = json::array();
    for (const Event& event : daemon.events().since(*since)) events.push_back(event_json(event));
    co_return json_reply({{"events", events}, {"last", daemon.events().last()}});
}

}  // namespace

json event_json(const Event& event) {
    return {{"id", event.id},
            {"unix_ms", event.unix_ms},
            {"kind", event.kind},
            {"actor", event.actor},
            {"text", event.text},
            {"blade", event.blade == 0 ? json() : json(event.blade)},
            {"service", event.service.empty() ? json() : json(event.service)},
            {"times", event.times}};
}

std::span<const ApiRoute> event_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/events", list_events}};
    return kRoutes;
}

}  // namespace keyrail
