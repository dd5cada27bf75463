// SPDX-License-Identifier: Apache-2.0
// API: name keys and cookie keys; their numbers and times, never themselves.
#include "control/daemon/api/api.h"

#include <fmt/chrono.h>

namespace keyrail {

using nlohmann::json;

namespace {

json time_report(int64_t unix_s) {
    return unix_s == 0 ? json(nullptr) : json(fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(unix_s)));
}

json key_list(const Secrets::Keys& keys) {
    json list = json::array();
    for (const Secrets::Key& key : keys)
        list.push_back({{"id", key.id},
                        {"state", key.current    ? "current"
                                  : key.coming() ? "coming"
                                                 : "old"},
                        {"made", time_report(key.made_s)},
                        {"retires", time_report(key.retires_s)}});
    return list;
}

ApiReply report(const Daemon& daemon) {
    const Secrets& secrets = daemon.secrets();
    return json_reply({{"names", key_list(secrets.name_keys())},
                       {"cookies", key_list(secrets.cookie_keys())},
                       {"lifetime_s", daemon.config().name_key_lifetime.count()},
                       {"waits_for", secrets.coming() ? json(daemon.waits_for_keys()) : json::array()}});
}

asio::awaitable<ApiReply> list(Daemon& daemon, ApiCall) { co_return report(daemon); }

asio::awaitable<ApiReply> rotate(Daemon& daemon, ApiCall call) {
    if (auto rotated = daemon.rotate_keys(); !rotated) co_return error_reply(500, rotated.error().message);
    daemon.events().add("key.coming", call.actor.name, "name and cookie keys are being replaced");
    co_return report(daemon);
}

}  // namespace

std::span<const ApiRoute> key_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/keys", list},
                                        ApiRoute{"POST", "/v1/keys/rotate", rotate}};
    return kRoutes;
}

}  // namespace keyrail
