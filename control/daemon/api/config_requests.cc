// SPDX-License-Identifier: Apache-2.0
// API: the configuration: what is in force, what another one would do, and its way into force.
#include <charconv>

#include "control/daemon/api/api.h"
#include "control/daemon/api/error.h"
#include "control/daemon/config/diff.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kWait = 5s;  // for dataplane and agents

ApiReply with_revision(ApiReply reply, const History& history) {
    reply.etag = std::to_string(history.in_force());
    return reply;
}

int status_of(Applying::Why why) {
    switch (why) {
        case Applying::Why::mistakes:
        case Applying::Why::harm:
            return 422;
        case Applying::Why::pending:
        case Applying::Why::nothing_pending:
            return 409;
        case Applying::Why::other_revision:
            return 412;
        case Applying::Why::unknown:
            return 404;
        case Applying::Why::failed:
            return 422;
    }
    return 500;
}

ApiReply refusal_reply(const Applying::Refusal& refusal) {
    const int status = status_of(refusal.why);
    json body = error_json(status, refusal.text);
    if (refusal.why == Applying::Why::mistakes) {
        body["error"]["mistakes"] = json::array();
        for (const std::string& mistake : refusal.mistakes)
            body["error"]["mistakes"].push_back(mistake_json(mistake));
    }
    if (refusal.why == Applying::Why::harm) {
        body["error"]["code"] = "harm";
        json& losses = body["error"]["losses"] = json::array();
        for (const Effect& loss : refusal.losses)
            losses.push_back({{"text", loss.text}, {"blade", loss.blade == 0 ? json() : json(loss.blade)}});
    }
    return json_reply(body, status);
}

json effects_json(const std::vector<Effect>& effects) {
    json list = json::array();
    for (const Effect& effect : effects)
        list.push_back({{"text", effect.text}, {"harm", effect.harm != Harm::none}});
    return list;
}

// --- what is asked

std::optional<uint64_t> number_of(std::string_view text) {
    uint64_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
    return number;
}

/// {"text": …, "file": …, "message": …, "confirm_s": 60, "guard": true, "yes": false, "if_revision": 3,
/// "wait": true}; the text may be missing where it is found otherwise.
Result<Applying::Request> read_request(const ApiCall& call) try {
    const json& body = call.body;
    Applying::Request request;
    request.text = body.value("text", "");
    request.file = body.value("file", "");
    request.actor = call.actor.name;
    request.from = "apply";
    request.message = body.value("message", "");
    request.guard = body.value("guard", true);
    if (body.value("yes", false)) request.accepted = {Harm::blade_with_sessions, Harm::vip_in_use};
    if (body.contains("confirm_s")) request.confirm = std::chrono::seconds(body["confirm_s"].get<int64_t>());
    if (request.confirm && (*request.confirm < Applying::kShortest || *request.confirm > Applying::kLongest))
        return fail("confirm_s is {}; 1 to {} are possible", request.confirm->count(),
                    Applying::kLongest.count());
    if (body.contains("if_revision")) request.if_revision = body["if_revision"].get<uint64_t>();
    (void)body.value("wait", true);
    constexpr size_t kMaxMessage = 2048, kMaxPath = 4096;
    if (request.message.size() > kMaxMessage || request.file.native().size() > kMaxPath)
        return fail("message has at most {} bytes, file {}", kMaxMessage, kMaxPath);
    return request;
} catch (const json::exception&) {
    return fail(
        "text, file and message are texts, confirm_s and if_revision are numbers, guard, yes and wait are "
        "true or "
        "false");
}

asio::awaitable<ApiReply> applied_reply(Daemon& daemon, Applying::Outcome<Applying::Applied> applied,
                                        bool wait) {
    if (!applied) co_return refusal_reply(applied.error());
    std::vector<std::string> lag;
    if (wait) lag = co_await daemon.applying().taken(kWait);
    const History& history = daemon.applying().history();
    co_return with_revision(json_reply({{"revision", applied->revision},
                                        {"config", daemon.config().file.string()},
                                        {"effects", effects_json(applied->effects)},
                                        {"pending", pending_json(history)},
                                        {"waits_for", lag}}),
                            history);
}

// --- the requests

asio::awaitable<ApiReply> show(Daemon& daemon, ApiCall) {
    const History& history = daemon.applying().history();
    const auto text = history.text(history.in_force());
    if (!text) co_return error_reply(500, text.error().message);
    co_return with_revision(json_reply({{"revision", history.in_force()},
                                        {"pending", pending_json(history)},
                                        {"file", daemon.config().file.string()},
                                        {"text", *text}}),
                            history);
}

asio::awaitable<ApiReply> list_revisions(Daemon& daemon, ApiCall) {
    const History& history = daemon.applying().history();
    json revisions = json::array();
    for (const auto& [number, revision] : history.revisions()) {
        json one = revision_json(revision);
        one["in_force"] = number == history.in_force();
        revisions.push_back(std::move(one));
    }
    co_return with_revision(json_reply({{"revisions", revisions}, {"pending", pending_json(history)}}),
                            history);
}

asio::awaitable<ApiReply> show_revision(Daemon& daemon, ApiCall call) {
    const History& history = daemon.applying().history();
    const auto number = number_of(call.words[0]);
    const auto text = history.text(number.value_or(0));
    if (!number || !text)
        co_return error_reply(
            404, fmt::format("there is no revision {}; 'keyrail config history' lists them", call.words[0]));
    json report = revision_json(history.revisions().at(*number));
    report["text"] = *text;
    co_return json_reply(report);
}

/// The text that a revision's number or the body itself gives.
Result<std::string> side(const History& history, const json& body, const char* key) {
    if (!body.contains(key)) return history.text(history.in_force());
    if (body[key].is_string()) return body[key].get<std::string>();
    if (body[key].is_number_unsigned()) return history.text(body[key].get<uint64_t>());
    return fail("{} is the text of a configuration, or a revision's number", key);
}

/// {"before": TEXT or NUMBER, "after": likewise, "file": …}; what is missing is what is in force.
asio::awaitable<ApiReply> diff(Daemon& daemon, ApiCall call) {
    // A text names files, and keyraild opens them as root.
    for (const char* key : {"before", "after", "file"})
        if (call.actor.role != Role::admin && call.body.contains(key) && call.body[key].is_string())
            co_return error_reply(403,
                                  "only root and group keyrail-admin may have a text looked at; "
                                  "revisions can be compared by their numbers");
    const History& history = daemon.applying().history();
    const auto before = side(history, call.body, "before"), after = side(history, call.body, "after");
    if (!before) co_return error_reply(404, before.error().message);
    if (!after) co_return error_reply(404, after.error().message);
    const auto changes = diff_configs(*before, *after);
    if (!changes) co_return error_reply(422, changes.error().message);
    json list = json::array();
    for (const ConfigChange& change : *changes)
        list.push_back({{"object", change.object},
                        {"key", change.key},
                        {"before", change.before},
                        {"after", change.after}});
    json report = {{"changes", list}, {"effects", nullptr}, {"mistakes", json::array()}};
    std::string file = daemon.config().file.string();
    if (const auto given = call.body.find("file"); given != call.body.end()) {
        if (!given->is_string()) co_return error_reply(400, "file is a text");
        file = given->get<std::string>();
    }
    const auto next = check_config_text(*after, file);
    const auto mistakes = next ? fixed_keys_changed(daemon.config(), *next) : next.error();
    for (const std::string& mistake : mistakes) report["mistakes"].push_back(mistake_json(mistake));
    if (next)
        report["effects"] =
            effects_json(effects_of(daemon.config(), *next, daemon.blades(), daemon.economics()));
    co_return with_revision(json_reply(report), history);
}

asio::awaitable<ApiReply> apply(Daemon& daemon, ApiCall call) {
    auto request = read_request(call);
    if (!request) co_return error_reply(400, request.error().message);
    if (request->text.empty()) co_return error_reply(400, "there is no \"text\"; it is the configuration");
    if (!request->file.is_absolute())
        co_return error_reply(400, "\"file\" is not the whole path of the file that the text comes from");
    auto applied = daemon.applying().apply(std::move(*request));
    co_return co_await applied_reply(daemon, std::move(applied), call.body.value("wait", true));
}

asio::awaitable<ApiReply> rollback(Daemon& daemon, ApiCall call) {
    auto request = read_request(call);
    if (!request) co_return error_reply(400, request.error().message);
    const json to = call.body.value("to", json());
    if (!to.is_number_unsigned()) co_return error_reply(400, "there is no \"to\"; it is a revision's number");
    auto applied = daemon.applying().roll_back_to(to, std::move(*request));
    co_return co_await applied_reply(daemon, std::move(applied), call.body.value("wait", true));
}

asio::awaitable<ApiReply> reload(Daemon& daemon, ApiCall call) {
    const json yes = call.body.value("yes", json(false));
    if (!yes.is_boolean()) co_return error_reply(400, "yes is true or false");
    auto applied = daemon.applying().reload(call.actor.name, yes);
    co_return co_await applied_reply(daemon, std::move(applied), false);
}

ApiReply settled_reply(Daemon& daemon, const Applying::Outcome<void>& outcome) {
    if (!outcome) return refusal_reply(outcome.error());
    const History& history = daemon.applying().history();
    return with_revision(json_reply({{"revision", history.in_force()}, {"pending", nullptr}}), history);
}

asio::awaitable<ApiReply> confirm(Daemon& daemon, ApiCall call) {
    co_return settled_reply(daemon, daemon.applying().confirm(call.actor.name));
}

asio::awaitable<ApiReply> cancel(Daemon& daemon, ApiCall call) {
    co_return settled_reply(daemon, daemon.applying().cancel(call.actor.name));
}

}  // namespace

json pending_json(const History& history) {
    if (!history.pending()) return nullptr;
    return {{"revision", history.pending()->revision},
            {"until_ms", history.pending()->until_ms},
            {"back_to", history.current()}};
}

std::span<const ApiRoute> config_routes() {
    static constexpr std::array kRoutes{
        ApiRoute{"GET", "/v1/config", show},
        ApiRoute{"GET", "/v1/config/history", list_revisions},
        ApiRoute{"GET", "/v1/config/history/*", show_revision},
        ApiRoute{"POST", "/v1/config/diff", diff, "before after file", true},
        ApiRoute{"POST", "/v1/config/apply", apply, "text file message confirm_s guard yes if_revision wait"},
        ApiRoute{"POST", "/v1/config/rollback", rollback, "to message confirm_s guard yes if_revision wait"},
        ApiRoute{"POST", "/v1/config/confirm", confirm},
        ApiRoute{"POST", "/v1/config/cancel", cancel},
        ApiRoute{"POST", "/v1/reload", reload, "yes"}};
    return kRoutes;
}

}  // namespace keyrail
