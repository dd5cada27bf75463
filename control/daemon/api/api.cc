// SPDX-License-Identifier: Apache-2.0
// The API: finds the route of a request.
#include "control/daemon/api/api.h"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace keyrail {

using nlohmann::json;

namespace {

/// The next word of a path, taken off its front; a path ends when nothing is left.
std::string_view next_word(std::string_view& path) {
    path.remove_prefix(1);  // the slash
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view word = path.substr(0, end);
    path.remove_prefix(end);
    return word;
}

/// The words that stand at the route's stars; nullopt: another path.
std::optional<std::vector<std::string>> match(std::string_view route, std::string_view path) {
    std::vector<std::string> stars;
    while (route.starts_with('/') && path.starts_with('/')) {
        const std::string_view wanted = next_word(route), word = next_word(path);
        if (wanted == "*" && !word.empty())
            stars.emplace_back(word);
        else if (wanted != word)
            return std::nullopt;
    }
    if (!route.empty() || !path.empty()) return std::nullopt;
    return stars;
}

/// An object; nullopt: something else was sent.
std::optional<json> read_body(const std::string& text) {
    if (text.empty()) return json::object();
    json body = json::parse(text, nullptr, false);
    if (!body.is_object()) return std::nullopt;
    return body;
}

}  // namespace

ApiReply json_reply(const json& body, int status) {
    return {status, body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

ApiReply error_reply(int status, const std::string& text) { return json_reply({{"error", text}}, status); }

asio::awaitable<ApiReply> answer_api(Daemon& daemon, ApiRequest request) {
    bool other_method = false;
    for (const auto routes : {chassis_routes(), blade_routes(), session_routes(), enrolment_routes(),
                              key_routes(), metrics_routes()}) {
        for (const ApiRoute& route : routes) {
            auto words = match(route.path, request.path);
            if (!words) continue;
            other_method = route.method != request.method;
            if (other_method) continue;
            auto body = read_body(request.body);
            if (!body) co_return error_reply(400, "the request's body is not a JSON object");
            ApiCall call{std::move(*words), std::move(*body)};
            co_return co_await route.answer(daemon, std::move(call));
        }
    }
    if (other_method)
        co_return error_reply(405, fmt::format("{} does not take {}", request.path, request.method));
    co_return error_reply(404, fmt::format("there is no {}", request.path));
}

}  // namespace keyrail
