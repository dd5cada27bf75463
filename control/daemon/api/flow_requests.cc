// SPDX-License-Identifier: Apache-2.0
// API: the flows of a client, as keyrail-dp's flow tables have them.
#include "control/daemon/api/api.h"
#include "control/daemon/api/body.h"
#include "control/daemon/api/reasons.h"
#include "link.pb.h"

namespace keyrail {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kFlowsTimeout = 7s;

json flow_report(const link::FlowsFound::Flow& flow, const Config& config) {
    const auto address = address_of_bytes(flow.address());
    return {{"client_port", flow.client_port()},
            {"address", address ? address->text() : ""},
            {"port", flow.port()},
            {"blade", blade_named(config, flow.blade())},
            {"state", flow.state()},
            {"idle_s", flow.idle_s()},
            {"worker", flow.worker()}};
}

asio::awaitable<ApiReply> find_flows(Daemon& daemon, ApiCall call) {
    Body body(call.body);
    const auto client = parse_ip(body.text("client"));
    if (!client) co_return error_reply(400, client.error().message);
    const std::string service_name = body.text("service");
    const uint64_t port = body.number("client_port").value_or(0);
    if (!body.mistake().empty()) co_return error_reply(400, body.mistake());
    link::ToDataplane message;
    link::FlowsRequest& request = *message.mutable_flows_request();
    request.set_client(std::string(client->raw()));
    request.set_client_port(static_cast<uint32_t>(std::min<uint64_t>(port, UINT32_MAX)));
    bool known = service_name.empty();
    for (const ServiceConfig& service : daemon.config().services) {
        if (!service_name.empty() && service.name != service_name) continue;
        known = true;
        for (const IpAddress& address : service.addresses) {
            if (address.family != client->family) continue;
            auto& place = *request.add_places();
            place.set_address(std::string(address.raw()));
            place.set_port(service.port);
        }
    }
    if (!known)
        co_return error_reply(
            404, fmt::format("there is no service '{}'; see 'keyrail service list'", service_name));
    if (!daemon.dataplane().peer().connected)
        co_return error_reply(502, "keyrail-dp is not connected; is it running?");
    const auto answer = co_await daemon.dataplane().ask(std::move(message), kFlowsTimeout);
    if (!answer) co_return error_reply(504, answer.error().message);
    if (answer->has_refused()) co_return error_reply(422, answer->refused().reason());
    json flows = json::array();
    for (const auto& flow : answer->flows_found().flows())
        flows.push_back(flow_report(flow, daemon.config()));
    co_return json_reply(
        {{"client", client->text()}, {"flows", flows}, {"more", answer->flows_found().more()}});
}

}  // namespace

std::span<const ApiRoute> flow_routes() {
    static constexpr std::array kRoutes{
        ApiRoute{"POST", "/v1/flows/find", find_flows, "client client_port service", true}};
    return kRoutes;
}

}  // namespace keyrail
