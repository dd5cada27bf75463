// SPDX-License-Identifier: Apache-2.0
// API: sessions.
#include "control/daemon/api/api.h"

#include <fmt/chrono.h>

#include "chassis.pb.h"
#include "dataplane/common/hex.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kQueryTimeout = 2s;

std::optional<SessionName> name_from_hex(std::string_view hex) {
    const auto bytes = from_hex(hex);
    SessionName name{};
    if (!bytes || bytes->size() != name.size()) return std::nullopt;
    std::ranges::copy(*bytes, reinterpret_cast<char*>(name.data()));
    return name;
}

std::string time_text(uint64_t unix_time_ms) {
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_time_ms / 1000)));
}

/// "1.3", or the number of another protocol.
std::string version_text(uint32_t number) {
    const std::string text = text_of(static_cast<TlsVersion>(number));
    return text.starts_with("TLS ") ? text.substr(4) : text;
}

asio::awaitable<ApiReply> session(Daemon& daemon, ApiCall call) {
    const std::string& hex = call.words[0];
    const auto name = name_from_hex(hex);
    if (!name) co_return error_reply(400, "a session name has 64 hex digits");
    const auto home = daemon.secrets().home(*name);
    json report = {{"name", hex},           {"home", nullptr},        {"holder", nullptr},
                   {"held", false},         {"tls_version", nullptr}, {"expires", nullptr},
                   {"single_use", nullptr}, {"uses", nullptr}};
    if (!home)
        co_return error_reply(404,
                              "not a session of this chassis: the name does not open with its name keys");
    const BladeId holder = daemon.moves().holder(*name).value_or(*home);
    report["home"] = *home;
    report["holder"] = holder;
    report["moves_under_way"] = daemon.moves().orders().under_way(*name);
    if (const LatestState* const latest = daemon.checkpoints().latest(*name)) report["uses"] = latest->uses;
    chassis::Envelope question;
    question.mutable_query()->set_name(bytes_of(*name));
    const auto answer = co_await daemon.agents().ask(holder, std::move(question), kQueryTimeout);
    const chassis::QueryReply held = answer ? answer->query_reply() : chassis::QueryReply();
    if (!answer) {
        report["held"] = nullptr;
        report["problem"] = answer.error().message;
    } else if (held.held()) {
        report["held"] = true;
        report["tls_version"] = version_text(held.tls_version());
        report["expires"] = time_text(held.expires_ms());
        report["single_use"] = held.single_use();
    }
    co_return json_reply(report);
}

/// What the operator wants to be rid of; an error says how to say it.
Result<chassis::Purge> purge_of(const json& body) {
    chassis::Purge purge;
    const auto text = [&](const char* key) {
        return body.contains(key) && body[key].is_string() ? body[key].get<std::string>() : "";
    };
    purge.set_all(body.contains("all") && body["all"] == true);
    purge.set_service(text("service"));
    const std::string hex = text("name");
    const auto name = name_from_hex(hex);
    if (!hex.empty() && !name) return fail("a session name has 64 hex digits");
    if (name) purge.set_name(bytes_of(*name));
    if (purge.all() + !purge.service().empty() + !hex.empty() != 1)
        return fail("say one of: which session (\"name\"), which \"service\", or \"all\": true");
    return purge;
}

/// A name that was mistyped shall not look as if its sessions were gone.
std::string unknown_service(const Daemon& daemon, const std::string& name) {
    std::string there;
    for (const ServiceConfig& service : daemon.config().services)
        there += (there.empty() ? "" : ", ") + service.name;
    return fmt::format(
        "there is no service '{}', and none of this name was removed in the last eight days; there are: {}",
        name, there.empty() ? "none" : there);
}

/// Every agent is asked: a session may be where nobody thinks it is. A service that was removed has sessions
/// still.
asio::awaitable<ApiReply> purge(Daemon& daemon, ApiCall call) {
    const auto what = purge_of(call.body);
    if (!what) co_return error_reply(400, what.error().message);
    const bool configured =
        std::ranges::count(daemon.config().services, what->service(), &ServiceConfig::name) != 0;
    const auto removed_ms = daemon.configured_before().left_ms(what->service());
    if (!what->service().empty() && !configured && !removed_ms)
        co_return error_reply(404, unknown_service(daemon, what->service()));
    const Purging::Answer answer = co_await daemon.purge(*what);
    json failed = json::array();
    for (const auto& [blade, problem] : answer.failed) {
        json where = {{"blade", nullptr}, {"problem", problem}};
        if (blade != 0) where["blade"] = blade;
        failed.push_back(std::move(where));
    }
    daemon.events().add("session.purged", call.actor.name, fmt::format("{} sessions purged", answer.purged),
                        {0, what->service()});
    json report = {{"purged", answer.purged}, {"failed", failed}, {"removed", nullptr}};
    if (removed_ms) report["removed"] = time_text(*removed_ms);
    co_return json_reply(report);
}

}  // namespace

std::span<const ApiRoute> session_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/session/*", session},
                                        ApiRoute{"POST", "/v1/sessions/purge", purge, "name service all"}};
    return kRoutes;
}

}  // namespace keyrail
