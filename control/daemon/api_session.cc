// SPDX-License-Identifier: Apache-2.0
// API: one session.
#include "control/daemon/api.h"

#include <fmt/chrono.h>

#include "chassis.pb.h"
#include "control/protocol/hex.h"

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

std::string version_text(uint32_t version) {
    return version == 0x0304 ? "1.3" : version == 0x0303 ? "1.2" : fmt::format("{:#06x}", version);
}

asio::awaitable<ApiReply> session(Daemon& daemon, ApiCall call) {
    const std::string& hex = call.words[0];
    const auto name = name_from_hex(hex);
    if (!name) co_return error_reply(400, "a session name has 64 hex digits");
    const auto home = daemon.secrets().home(*name);
    json report = {{"name", hex},          {"home", nullptr},        {"holder", nullptr},
                   {"held", false},        {"tls_version", nullptr}, {"expires", nullptr},
                   {"single_use", nullptr}};
    if (!home)
        co_return error_reply(404,
                              "not a session of this chassis: the name does not open with its name keys");
    const uint16_t holder = daemon.moves().holder(*name).value_or(*home);
    report["home"] = *home;
    report["holder"] = holder;
    const std::string bytes(name->begin(), name->end());
    const auto held = co_await daemon.agents().query(holder, bytes, kQueryTimeout);
    if (!held) {
        report["held"] = nullptr;
        report["problem"] = held.error().message;
    } else if (held->held()) {
        report["held"] = true;
        report["tls_version"] = version_text(held->tls_version());
        const auto expires_s = static_cast<std::time_t>(held->expires_ms() / 1000);
        report["expires"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(expires_s));
        report["single_use"] = held->single_use();
    }
    co_return json_reply(report);
}

}  // namespace

std::span<const ApiRoute> session_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/session/*", session}};
    return kRoutes;
}

}  // namespace keyrail
