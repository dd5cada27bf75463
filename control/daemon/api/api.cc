// SPDX-License-Identifier: Apache-2.0
// The API: finds the route of a request.
#include "control/daemon/api/api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <sstream>

#include "control/daemon/api/error.h"
#include "control/protocol/words.h"

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
/// Copies of a value go down into it, so nobody may send one that is deeper than the stack.
std::optional<json> read_body(const std::string& text) {
    constexpr int kMaxDepth = 16;
    if (text.empty()) return json::object();
    bool deep = false;
    const auto look = [&](int depth, json::parse_event_t, const json&) {
        deep = deep || depth > kMaxDepth;
        return !deep;
    };
    json body = json::parse(text, look, false);
    if (deep || !body.is_object()) return std::nullopt;
    return body;
}

/// Names, ids and session names: what stands in a path can be nothing else, whoever put it there.
bool is_plain(std::string_view path) {
    return std::ranges::all_of(path, [](unsigned char byte) {
        return std::isalnum(byte) != 0 || byte == '_' || byte == '.' || byte == '-' || byte == '/';
    });
}

/// What is wrong with the keys of a body; "" when nothing is.
std::string unknown_key(const ApiRoute& route, const json& body) {
    std::istringstream words{std::string(route.keys)};
    const std::vector<std::string> known{std::istream_iterator<std::string>(words), {}};
    for (const auto& [key, value] : body.items()) {
        if (std::ranges::find(known, key) != known.end()) continue;
        if (known.empty()) return fmt::format("unknown key '{}'; this takes none", key);
        if (const auto close = nearest(key, known))
            return fmt::format("unknown key '{}'; did you mean '{}'?", key, *close);
        return fmt::format("unknown key '{}'; there are: {}", key, fmt::join(known, ", "));
    }
    return "";
}

/// Who may not is told what would be needed; nullopt: may.
std::optional<ApiReply> refused_to(const Actor& actor, const ApiRoute& route) {
    const bool changes = route.method != "GET" && !route.changes_nothing;
    if (actor.role == Role::admin || (actor.role == Role::read && !changes)) return std::nullopt;
    return error_reply(403, fmt::format("{} may not {}; be root, or in group {}", actor.name,
                                        changes ? "change anything here" : "look at this chassis",
                                        changes ? kAdminGroup : kReadGroup));
}

asio::awaitable<ApiReply> answer_route(Daemon& daemon, const ApiRoute& route, ApiRequest request,
                                       std::vector<std::string> words) {
    if (auto refused = refused_to(request.actor, route)) co_return std::move(*refused);
    auto body = read_body(request.body);
    if (!body) co_return error_reply(400, "the request's body is not a JSON object");
    if (const std::string wrong = unknown_key(route, *body); !wrong.empty())
        co_return error_reply(400, wrong);
    ApiCall call{std::move(words), std::move(*body), std::move(request.query), std::move(request.if_match),
                 std::move(request.actor)};
    call.accept = std::move(request.accept);
    co_return co_await route.answer(daemon, std::move(call));
}

}  // namespace

ApiReply json_reply(const json& body, int status) {
    return {status, body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

ApiReply error_reply(int status, const std::string& text) {
    return json_reply(error_json(status, text), status);
}

asio::awaitable<ApiReply> answer_api(Daemon& daemon, ApiRequest request) {
    if (!is_plain(request.path))
        co_return error_reply(
            400,
            "a path has letters, digits, '-', '_' and '.' between its slashes; is an id or a name mistyped?");
    bool other_method = false;
    for (const auto routes : {chassis_routes(), blade_routes(), session_routes(), enrolment_routes(),
                              key_routes(), metrics_routes(), event_routes(), config_routes()}) {
        for (const ApiRoute& route : routes) {
            auto words = match(route.path, request.path);
            if (!words) continue;
            if (route.method == request.method)
                co_return co_await answer_route(daemon, route, std::move(request), std::move(*words));
            other_method = true;
        }
    }
    if (other_method)
        co_return error_reply(405, fmt::format("{} does not take {}", request.path, request.method));
    co_return error_reply(404, fmt::format("there is no {}", request.path));
}

}  // namespace keyrail
