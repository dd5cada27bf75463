// SPDX-License-Identifier: Apache-2.0
// API: who may be a blade of this chassis.
#include "control/daemon/api/api.h"

#include <fmt/chrono.h>

namespace keyrail {

using nlohmann::json;

namespace {

/// {"pools": ["web"], "address": "10.77.0.14", "name": "fourth", "valid_s": 3600}; all may be left out.
Result<Enrolment::Wish> read_wish(BladeId id, const json& body) try {
    Enrolment::Wish wish;
    wish.id = id;
    wish.pools = body.value("pools", std::vector<std::string>{});
    wish.name = body.value("name", "");
    wish.valid = std::chrono::seconds(body.value("valid_s", int64_t{3600}));
    if (body.contains("address")) {
        const auto address = parse_ip(body["address"].get<std::string>());
        if (!address) return tl::make_unexpected(address.error());
        wish.address = *address;
    }
    return wish;
} catch (const json::exception&) {
    return fail("pools is a list of texts, address and name are texts, valid_s is a number");
}

asio::awaitable<ApiReply> enroll(Daemon& daemon, ApiCall call) {
    const BladeId id = blade_number(call.words[0]);
    if (id == 0) co_return error_reply(404, fmt::format("'{}' is no blade id (1..4095)", call.words[0]));
    const auto wish = read_wish(id, call.body);
    if (!wish) co_return error_reply(400, wish.error().message);
    const auto token = daemon.invite(*wish);
    if (!token) co_return error_reply(422, token.error().message);
    daemon.events().add("blade.invited", call.actor.name,
                        fmt::format("blade {} may be enrolled for {} s", id, wish->valid.count()), {id});
    const auto expires = std::chrono::system_clock::now() + wish->valid;
    co_return json_reply({{"blade", id},
                          {"token", *token},
                          {"expires", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(expires))}});
}

asio::awaitable<ApiReply> revoke(Daemon& daemon, ApiCall call) {
    const auto id = blade_of(daemon, call.words[0]);
    if (!id) co_return id.error();
    if (auto revoked = daemon.revoke(*id); !revoked) co_return error_reply(500, revoked.error().message);
    daemon.events().add("blade.revoked", call.actor.name, fmt::format("blade {} is revoked", *id), {*id});
    co_return json_reply({{"revoked", *id}});
}

}  // namespace

std::span<const ApiRoute> enrolment_routes() {
    static constexpr std::array kRoutes{
        ApiRoute{"POST", "/v1/blades/*/enroll", enroll, "pools address name valid_s"},
        ApiRoute{"POST", "/v1/blades/*/revoke", revoke}};
    return kRoutes;
}

}  // namespace keyrail
