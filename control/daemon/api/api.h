// SPDX-License-Identifier: Apache-2.0
// The API's resources (control/README.md lists them): from the daemon's state to JSON, and the operator's
// wishes. A noun is a file (blade_requests.cc, session_requests.cc, …) that says its routes; api.cc finds the
// route.
#pragma once

#include <asio/awaitable.hpp>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/daemon/api/api_server.h"
#include "control/daemon/core/daemon.h"
#include "dataplane/common/ids.h"

namespace keyrail {

/// A request whose route was found.
struct ApiCall {
    std::vector<std::string> words;  // what stands where the route's path has "*"
    nlohmann::json body;             // an object; empty when nothing was sent
    std::string query;               // of a GET
    std::string if_match;            // a revision; "": any
    Actor actor;
    std::string accept = {};  // the header field: which format is wanted
};

/// How a method and a path are answered, on the daemon's thread. The daemon outlives the call.
struct ApiRoute {
    std::string_view method;  // "GET", "POST"
    std::string_view path;    // "/v1/blades/*/drain": "*" is one word
    asio::awaitable<ApiReply> (*answer)(Daemon& daemon, ApiCall call);
    std::string_view keys = {};    // what the body of a POST may have: "rate deadline_s"
    bool changes_nothing = false;  // a POST that only asks, so whoever may look may send it
};

std::span<const ApiRoute> chassis_routes();
std::span<const ApiRoute> blade_routes();
std::span<const ApiRoute> session_routes();
std::span<const ApiRoute> enrolment_routes();
std::span<const ApiRoute> key_routes();
std::span<const ApiRoute> metrics_routes();
std::span<const ApiRoute> event_routes();
std::span<const ApiRoute> config_routes();

/// The number that a path's word says; 0: it is none of a blade.
BladeId blade_number(std::string_view word);
/// The blade whose id or name a path says, or what to answer.
tl::expected<BladeId, ApiReply> blade_of(const Daemon& daemon, std::string_view word);

// The reports that `keyrail status`, `blade list` and `stats` print.
nlohmann::json event_json(const Event& event);
nlohmann::json status_json(Daemon& daemon);
nlohmann::json blades_json(const Daemon& daemon);
asio::awaitable<nlohmann::json> stats_json(Daemon& daemon);

ApiReply json_reply(const nlohmann::json& body, int status = 200);
/// error.h; the text says "what; what to do".
ApiReply error_reply(int status, const std::string& text);

/// Answers one request; runs on the daemon's thread. The daemon outlives it.
asio::awaitable<ApiReply> answer_api(Daemon& daemon, ApiRequest request);
/// The same for clients that may only read metrics.
asio::awaitable<ApiReply> answer_metrics(Daemon& daemon, ApiRequest request);

}  // namespace keyrail
