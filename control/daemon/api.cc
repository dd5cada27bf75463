// SPDX-License-Identifier: Apache-2.0
// The API's resources, one function each.
#include "control/daemon/api.h"

#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "chassis.pb.h"
#include "control/daemon/binding.h"
#include "control/daemon/stats_report.h"
#include "control/protocol/hex.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kStatsTimeout = 1s;
constexpr auto kQueryTimeout = 2s;
constexpr int kConservationReads = 5;

ApiReply reply(const json& body, int status = 200) {
    return {status, body.dump(-1, ' ', false, json::error_handler_t::replace)};
}
ApiReply error(int status, const std::string& text) { return reply({{"error", text}}, status); }

json dataplane_report(Daemon& daemon) {
    const DataplaneLink::Peer& peer = daemon.dataplane().peer();
    if (!peer.connected) return {{"connected", false}};
    return {{"connected", true},
            {"version", peer.version},
            {"workers", peer.workers},
            {"snapshot_generation", peer.generation}};
}

/// null: each packet by its tuple, there is nothing to bind.
json binding_report(const ServiceConfig& service, const Blades& blades) {
    if (!service.by_session) return nullptr;
    const BindingChoice choice = choose_binding(service, blades);
    return {{"now", choice.late ? "late" : "early"}, {"why", choice.why}};
}

json service_report(const ServiceConfig& service, const Blades& blades) {
    json addresses = json::array();
    for (const IpAddress& address : service.addresses) addresses.push_back(address.text());
    size_t up = 0;
    for (const uint16_t id : service.blades) {
        const Blade& blade = blades.all().at(id);
        up += blade.condition() == BladeCondition::up && blade.serves(service.port) ? 1 : 0;
    }
    return {{"name", service.name},
            {"addresses", addresses},
            {"port", service.port},
            {"pool", service.pool},
            {"steering", service.by_session ? "session" : "tuple"},
            {"binding", binding_report(service, blades)},
            {"blades", service.blades},
            {"blades_up", up}};
}

json blade_report(const Blade& blade) {
    json servers = json::array();
    for (const uint16_t port : blade.ports)
        servers.push_back({{"port", port}, {"listening", blade.serves(port)}});
    return {{"id", blade.config.id},
            {"name", blade.config.name},
            {"address", blade.config.address.text()},
            {"state", text_of(blade.condition())},
            {"why_down", blade.why_down()},
            {"draining", blade.draining},
            {"agent",
             {{"connected", blade.connected},
              {"address", blade.config.agent.text()},
              {"version", blade.version},
              {"kernel", blade.kernel},
              {"accept_program", blade.accept_program},
              {"problems", blade.problems}}},
            {"servers", servers},
            {"load", blade.load},
            {"sessions", blade.sessions},
            {"store_bytes", blade.store_bytes},
            {"resumed", blade.resumed},
            {"full", blade.full}};
}

ApiReply status(Daemon& daemon) {
    std::map<std::string, int> conditions = {{"up", 0}, {"draining", 0}, {"down", 0}};
    for (const auto& [id, blade] : daemon.blades().all()) conditions[text_of(blade.condition())]++;
    json services = json::array();
    for (const ServiceConfig& service : daemon.config().services)
        services.push_back(service_report(service, daemon.blades()));
    json blades = conditions;
    blades["total"] = daemon.blades().all().size();
    return reply({{"chassis", daemon.config().name},
                  {"version", KEYRAIL_VERSION},
                  {"uptime_s", daemon.uptime().count()},
                  {"config", daemon.config().file.string()},
                  {"settled", daemon.settled()},
                  {"snapshot_generation", daemon.generation()},
                  {"dataplane", dataplane_report(daemon)},
                  {"blades", blades},
                  {"agents", daemon.agents().count()},
                  {"services", services},
                  {"moved_sessions", daemon.moves().directory().size()}});
}

ApiReply blade_list(Daemon& daemon) {
    json blades = json::array();
    for (const auto& [id, blade] : daemon.blades().all()) blades.push_back(blade_report(blade));
    return reply(blades);
}

/// A worker counts while it is being read, so one reading may catch a packet between two counters: read again
/// then.
asio::awaitable<ApiReply> stats(Daemon& daemon) {
    json report = json::object();
    for (int i = 0; i < kConservationReads && !report.value("conserved", false); i++) {
        const auto counters = co_await daemon.dataplane().stats(kStatsTimeout);
        if (!counters) break;
        report = stats_report(*counters, daemon.config());
    }
    report["dataplane"] = dataplane_report(daemon);
    report["generation"] = daemon.generation();
    report["moves"] = moves_report(daemon.moves().orders());
    json agents = json::array();
    for (const auto& [id, blade] : daemon.blades().all())
        agents.push_back({{"blade", id}, {"connected", blade.connected}});
    report["agents"] = std::move(agents);
    co_return reply(report);
}

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

asio::awaitable<ApiReply> session(Daemon& daemon, std::string hex) {
    const auto name = name_from_hex(hex);
    if (!name) co_return error(400, "a session name has 64 hex digits");
    const auto home = daemon.secrets().home(*name);
    json report = {{"name", hex},          {"home", nullptr},        {"holder", nullptr},
                   {"held", false},        {"tls_version", nullptr}, {"expires", nullptr},
                   {"single_use", nullptr}};
    if (!home)
        co_return error(404, "not a session of this chassis: the name does not open with its name keys");
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
    co_return reply(report);
}

/// Who gets the clients now? A drain that leaves a service without a blade is carried out, but said.
json drain_notes(Daemon& daemon, uint16_t id) {
    json notes = json::array();
    for (const ServiceConfig& service : daemon.config().services) {
        if (!std::ranges::binary_search(service.blades, id)) continue;
        if (service_report(service, daemon.blades())["blades_up"] == 0)
            notes.push_back(fmt::format("service '{}' has no other blade that is up", service.name));
    }
    return notes;
}

ApiReply change_blade(Daemon& daemon, std::string_view id_text, bool drain) {
    uint16_t id = 0;
    const auto [end, failed] = std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
    const bool number = failed == std::errc{} && end == id_text.data() + id_text.size();
    const auto& blades = daemon.blades().all();
    if (!number || !blades.contains(id)) {
        std::vector<uint16_t> ids;
        for (const auto& [known, blade] : blades) ids.push_back(known);
        return error(404,
                     fmt::format("there is no blade '{}'; blades are: {}", id_text, fmt::join(ids, ", ")));
    }
    if (auto set = daemon.set_draining(id, drain); !set) return error(500, set.error().message);
    json report = blade_report(blades.at(id));
    report["notes"] = drain ? drain_notes(daemon, id) : json::array();
    return reply(report);
}

ApiReply reload(Daemon& daemon) {
    if (auto applied = daemon.reload(); !applied) return error(422, applied.error().message);
    return reply({{"reloaded", true}, {"config", daemon.config().file.string()}});
}

asio::awaitable<ApiReply> get(Daemon& daemon, const std::string& path) {
    constexpr std::string_view kSession = "/v1/session/";
    if (path == "/v1/status") co_return status(daemon);
    if (path == "/v1/blades") co_return blade_list(daemon);
    if (path == "/v1/stats") co_return co_await stats(daemon);
    if (path.starts_with(kSession)) co_return co_await session(daemon, path.substr(kSession.size()));
    co_return error(404, fmt::format("there is no {}", path));
}

ApiReply post(Daemon& daemon, std::string_view path) {
    constexpr std::string_view kBlades = "/v1/blades/", kDrain = "/drain", kResume = "/resume";
    if (path == "/v1/reload") return reload(daemon);
    if (path.starts_with(kBlades)) {
        const std::string_view rest = path.substr(kBlades.size());
        if (rest.ends_with(kDrain))
            return change_blade(daemon, rest.substr(0, rest.size() - kDrain.size()), true);
        if (rest.ends_with(kResume))
            return change_blade(daemon, rest.substr(0, rest.size() - kResume.size()), false);
    }
    return error(404, fmt::format("there is no {}", path));
}

}  // namespace

asio::awaitable<ApiReply> answer_api(Daemon& daemon, ApiRequest request) {
    if (request.method == "POST") co_return post(daemon, request.path);
    co_return co_await get(daemon, request.path);
}

}  // namespace keyrail
