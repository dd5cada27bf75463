// SPDX-License-Identifier: Apache-2.0
// API: health checks, and what the operator wishes of blades and services.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "control/daemon/api/api.h"

namespace keyrail {

using nlohmann::json;

namespace {

uint64_t ms_of(std::chrono::system_clock::time_point at) {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count());
}

/// Of a moment of the clock that never jumps.
uint64_t unix_ms_of(CheckState::Time at) {
    const auto ago = std::chrono::steady_clock::now() - at;
    return unix_ms() -
           static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(ago).count());
}

json names_of(const Daemon& daemon, const Checks::Key& key) {
    const auto& [blade, service, at] = key;
    const auto known = daemon.blades().all().find(blade);
    return {{"blade", blade},
            {"name", known == daemon.blades().all().end() ? "" : known->second.config.name},
            {"service", service},
            {"address", at.text()}};
}

json answer_json(const CheckAnswer& answer) {
    json report = {{"good", answer.kind == CheckAnswer::Kind::good},
                   {"why", answer.why},
                   {"answer", answer.text},
                   {"status", nullptr},
                   {"took_us", answer.took.count()},
                   {"resumed", nullptr},
                   {"certificate_ends_ms", nullptr}};
    if (answer.status != 0) report["status"] = answer.status;
    if (answer.offered) report["resumed"] = answer.resumed;
    if (answer.certificate_ends) report["certificate_ends_ms"] = ms_of(*answer.certificate_ends);
    return report;
}

json durations_json(const CheckDurations& durations) {
    json buckets = json::array();
    for (size_t i = 0; i < durations.within.size(); i++)
        buckets.push_back({{"le_ms", CheckDurations::kBoundsMs[i]}, {"count", durations.within[i]}});
    return {{"buckets", buckets}, {"count", durations.count}, {"sum_us", durations.sum.count()}};
}

json target_json(const Daemon& daemon, const Checks::Key& key, const CheckTarget& target) {
    const auto& [blade, service, at] = key;
    const auto now = std::chrono::steady_clock::now();
    const auto held = target.state.held(target.probe.check, now);
    const auto& blades = daemon.blades().all();
    const auto known = blades.find(blade);
    json report = names_of(daemon, key);
    report["type"] = text_of(target.probe.check.type);
    report["via"] = text_of(target.probe.check.via);
    report["state"] = text_of(target.state.health());
    report["since_ms"] = nullptr;
    report["held_ms"] = nullptr;
    report["paused"] = known != blades.end() && known->second.draining;
    report["share"] = known == blades.end() ? 0 : known->second.share(service);
    report["fail_open"] = daemon.blades().fail_open().contains(service);
    report["flaps"] = target.state.flaps();
    report["in_a_row"] = target.state.in_a_row();
    report["good"] = target.good;
    report["failed"] = target.bad;
    report["offered"] = target.offered;
    report["resumed"] = target.resumed;
    report["trouble"] = target.trouble;
    report["last"] = nullptr;
    report["durations"] = durations_json(target.durations);
    if (target.durations.count == 0) return report;
    report["last"] = answer_json(target.last);
    report["last"]["at_ms"] = ms_of(target.at);
    if (target.state.health() != CheckVerdict::Health::unknown)
        report["since_ms"] = unix_ms_of(target.state.since());
    if (held) report["held_ms"] = held->count();
    return report;
}

asio::awaitable<ApiReply> list_checks(Daemon& daemon, ApiCall) {
    co_return json_reply({{"checks", checks_json(daemon)}});
}

asio::awaitable<ApiReply> run_checks(Daemon& daemon, ApiCall call) {
    const auto id = blade_of(daemon, call.words[0]);
    if (!id) co_return id.error();
    const Checks::Answers answers = co_await daemon.checks().run(*id);
    if (answers.empty())
        co_return error_reply(
            409, fmt::format("nobody checks blade {}; write a [pool.check] table below its [[pool]]", *id));
    json all = json::array();
    for (const auto& [key, answer] : answers) {
        json one = names_of(daemon, key);
        one["made"] = answer.kind != CheckAnswer::Kind::ours;
        one.update(answer_json(answer));
        all.push_back(std::move(one));
    }
    co_return json_reply({{"checks", all}});
}

// --- wishes ---

ApiReply wish_reply(const Daemon& daemon, BladeId id) {
    const json blades = blades_json(daemon);
    const auto found = std::ranges::find_if(blades, [&](const json& blade) { return blade.at("id") == id; });
    return json_reply(found == blades.end() ? json::object() : *found);
}

/// What is so already is no change: no snapshot, no event.
ApiReply change_wish(Daemon& daemon, BladeId id, const BladeWish& wish, const Actor& actor,
                     const std::string& kind, const std::string& what) {
    if (daemon.wishes().of(id) == wish) return wish_reply(daemon, id);
    if (auto set = daemon.set_wish(id, wish); !set) return error_reply(500, set.error().message);
    const Blade& blade = daemon.blades().all().at(id);
    daemon.events().add(kind, actor.name, fmt::format("blade {} ({}) {}", id, blade.config.name, what));
    return wish_reply(daemon, id);
}

asio::awaitable<ApiReply> weigh(Daemon& daemon, ApiCall call) {
    const auto id = blade_of(daemon, call.words[0]);
    if (!id) co_return id.error();
    const json weight = call.body.value("weight", json());
    if (!weight.is_number_unsigned() || weight < 1 || weight > BladeWish::kWhole)
        co_return error_reply(400, fmt::format("weight is {}; 1 to {} are possible (nothing new at all: "
                                               "blade disable)",
                                               weight.dump(), BladeWish::kWhole));
    BladeWish wish = daemon.wishes().of(*id);
    wish.weight = weight.get<uint32_t>();
    co_return change_wish(daemon, *id, wish, call.actor, "blade.weight",
                          fmt::format("gets {} % of its part of the new clients", wish.weight));
}

ApiReply set_disabled(Daemon& daemon, const ApiCall& call, bool disabled) {
    const auto id = blade_of(daemon, call.words[0]);
    if (!id) return id.error();
    BladeWish wish = daemon.wishes().of(*id);
    wish.disabled = disabled;
    return change_wish(daemon, *id, wish, call.actor, disabled ? "blade.disabled" : "blade.enabled",
                       disabled ? "takes nothing new; what it has lives" : "takes new clients again");
}

asio::awaitable<ApiReply> disable(Daemon& daemon, ApiCall call) {
    co_return set_disabled(daemon, call, true);
}
asio::awaitable<ApiReply> enable(Daemon& daemon, ApiCall call) {
    co_return set_disabled(daemon, call, false);
}

ApiReply set_service(Daemon& daemon, const ApiCall& call, bool disabled) {
    std::vector<std::string> known;
    for (const ServiceConfig& service : daemon.config().services) known.push_back(service.name);
    const std::string& name = call.words[0];
    if (std::ranges::find(known, name) == known.end())
        return error_reply(
            404, fmt::format("there is no service '{}'; services are: {}", name, fmt::join(known, ", ")));
    if (daemon.wishes().disabled(name) != disabled) {
        if (auto set = daemon.set_service_disabled(name, disabled); !set)
            return error_reply(500, set.error().message);
        daemon.events().add(
            disabled ? "service.disabled" : "service.enabled", call.actor.name,
            fmt::format("service '{}' {}", name,
                        disabled ? "takes nobody new; what it has lives" : "takes clients again"));
    }
    return json_reply({{"service", name}, {"disabled", disabled}});
}

asio::awaitable<ApiReply> disable_service(Daemon& daemon, ApiCall call) {
    co_return set_service(daemon, call, true);
}
asio::awaitable<ApiReply> enable_service(Daemon& daemon, ApiCall call) {
    co_return set_service(daemon, call, false);
}

}  // namespace

json checks_json(const Daemon& daemon) {
    json all = json::array();
    for (const auto& [key, target] : daemon.checks().all()) all.push_back(target_json(daemon, key, *target));
    return all;
}

std::span<const ApiRoute> check_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/v1/checks", list_checks},
                                        ApiRoute{"POST", "/v1/blades/*/check", run_checks},
                                        ApiRoute{"POST", "/v1/blades/*/weight", weigh, "weight"},
                                        ApiRoute{"POST", "/v1/blades/*/disable", disable},
                                        ApiRoute{"POST", "/v1/blades/*/enable", enable},
                                        ApiRoute{"POST", "/v1/services/*/disable", disable_service},
                                        ApiRoute{"POST", "/v1/services/*/enable", enable_service}};
    return kRoutes;
}

}  // namespace keyrail
