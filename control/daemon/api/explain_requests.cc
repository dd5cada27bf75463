// SPDX-License-Identifier: Apache-2.0
// API: what would become of a connection. keyrail-dp says so, by its own packet path.
#include <random>

#include "control/daemon/api/api.h"
#include "control/daemon/api/body.h"
#include "control/daemon/api/reasons.h"
#include "dataplane/common/hex.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kExplainTimeout = 2s;

/// Where the client goes: what the body says, else what there is. Errors: what is missing.
Result<HostPort> destination_of(const Config& config, Body& body, const IpAddress& client) {
    const std::string name = body.text("service"), address = body.text("address");
    if (!address.empty()) {
        const auto read = parse_ip(address);
        if (!read) return tl::make_unexpected(read.error());
        const uint64_t port = body.number("port").value_or(443);
        if (port == 0 || port > UINT16_MAX) return fail("'port' is no port; say 1 to 65535");
        return HostPort{*read, static_cast<uint16_t>(port)};
    }
    for (const ServiceConfig& service : config.services) {
        if (!name.empty() && service.name != name) continue;
        for (const IpAddress& at : service.addresses)
            if (at.family == client.family) return HostPort{at, service.port};
    }
    if (!name.empty())
        return fail("no service '{}' with an address of the client's family; see 'keyrail service list'",
                    name);
    return fail("no service has an address of the client's family; say where the client goes");
}

/// Any port that clients use.
uint16_t some_port() {
    std::random_device random;
    return static_cast<uint16_t>(32'768 + random() % 28'000);
}

Result<void> read_hello(Body& body, link::ExplainRequest& request) {
    const auto hex = [&](const char* key, std::string& into) -> Result<void> {
        const auto bytes = from_hex(body.text(key));
        if (!bytes) return fail("'{}' is not written in hex digits", key);
        into = *bytes;
        return {};
    };
    if (auto read = hex("hello", *request.mutable_hello()); !read) return read;
    if (auto read = hex("session", *request.mutable_name()); !read) return read;
    constexpr size_t kMaxHello = 65'536, kMaxName = 1024, kMaxProtocols = 16;
    if (request.hello().size() > kMaxHello) return fail("'hello' has more than {} bytes", kMaxHello);
    if (request.name().size() > kMaxName) return fail("'session' has more than {} bytes", kMaxName);
    request.set_server_name(body.text("server_name"));
    if (request.server_name().size() > UINT8_MAX) return fail("'server_name' has more than 255 characters");
    const auto protocols = body.texts("alpn");
    const auto too_long = [](const std::string& protocol) { return protocol.size() > UINT8_MAX; };
    if (protocols.size() > kMaxProtocols || std::ranges::any_of(protocols, too_long))
        return fail("'alpn': at most {} protocols of at most 255 characters", kMaxProtocols);
    for (const std::string& protocol : protocols) request.add_alpn(protocol);
    const std::string tls = body.text("tls");
    if (!tls.empty() && tls != "1.2" && tls != "1.3") return fail("'tls' is 1.2 or 1.3");
    request.set_tls12(tls == "1.2");
    request.set_early_data(body.flag("early_data"));
    return {};
}

json explained_report(const link::Explained& explained, const Config& config) {
    json steps = json::array(), packets = json::array();
    for (const auto& step : explained.steps())
        steps.push_back({{"what", step.what()}, {"text", step.text()}});
    for (const auto& packet : explained.packets())
        packets.push_back({{"what", packet.what()},
                           {"action", packet.action()},
                           {"reason", packet.reason()},
                           {"blade", blade_named(config, packet.blade())}});
    return {{"service", explained.service().empty() ? json() : json(explained.service())},
            {"blade", blade_named(config, explained.blade())},
            {"reason", explained.reason()},
            {"meaning", meaning_of_reason(explained.reason())},
            {"move_from", blade_named(config, explained.move_from())},
            {"worker", explained.worker()},
            {"why_not", explained.why_not().empty() ? json() : json(explained.why_not())},
            {"packets", packets},
            {"steps", steps}};
}

asio::awaitable<ApiReply> explain_connection(Daemon& daemon, ApiCall call) {
    Body body(call.body);
    const auto client = parse_ip(body.text("client"));
    if (!client) co_return error_reply(400, client.error().message);
    const auto to = destination_of(daemon.config(), body, *client);
    if (!to) co_return error_reply(422, to.error().message);
    link::ToDataplane message;
    link::ExplainRequest& request = *message.mutable_explain_request();
    if (const auto read = read_hello(body, request); !read) co_return error_reply(400, read.error().message);
    if (const std::string blade = body.text("why_not"); !blade.empty()) {
        const auto id = blade_of(daemon, blade);
        if (!id) co_return id.error();
        request.set_why_not(*id);
    }
    const uint64_t port = body.number("client_port").value_or(some_port());
    if (!body.mistake().empty()) co_return error_reply(400, body.mistake());
    request.set_client(std::string(client->raw()));
    request.set_client_port(static_cast<uint32_t>(std::min<uint64_t>(port, UINT32_MAX)));
    request.set_address(std::string(to->address.raw()));
    request.set_port(to->port);
    if (!daemon.dataplane().peer().connected)
        co_return error_reply(502, "keyrail-dp is not connected; is it running?");
    const auto answer = co_await daemon.dataplane().ask(std::move(message), kExplainTimeout);
    if (!answer) co_return error_reply(504, answer.error().message);
    if (answer->has_refused()) co_return error_reply(422, answer->refused().reason());
    json explained = explained_report(answer->explained(), daemon.config());
    explained["client"] = client->text();
    explained["client_port"] = port;
    explained["address"] = to->address.text();
    explained["port"] = to->port;
    co_return json_reply(explained);
}

}  // namespace

std::span<const ApiRoute> explain_routes() {
    static constexpr std::array kRoutes{ApiRoute{
        "POST", "/v1/explain", explain_connection,
        "client client_port service address port hello session server_name alpn tls early_data why_not",
        true}};
    return kRoutes;
}

}  // namespace keyrail
