// SPDX-License-Identifier: Apache-2.0
// What keyraild would say of a scene: its snapshot, and names of its sessions.
#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/session_names.h"

namespace keyrail::test {
namespace {

constexpr std::string_view kNameKeyBytes = "kkkkkkkkkkkkkkkk";

}  // namespace

link::Snapshot snapshot_of(const Scene& scene) {
    link::Snapshot m;
    auto* cookie = m.add_cookie_keys();
    cookie->set_key(std::string(reinterpret_cast<const char*>(&kCookieKey), sizeof kCookieKey));
    cookie->set_current(true);
    auto* name_key = m.add_name_keys();
    name_key->set_generation(1);
    name_key->set_key(std::string(kNameKeyBytes));
    auto* service = m.add_services();
    service->set_name("www");
    service->set_port(443);
    service->set_steering(scene.by_session ? link::STEER_SESSION : link::STEER_TUPLE);
    service->set_binding(scene.late ? link::BIND_LATE : link::BIND_EARLY);
    service->set_hold_budget_us(scene.hold_budget_us);
    service->set_hold_budget_tls13_us(scene.hold_budget_tls13_us);
    service->set_content_moves(scene.content_moves);
    service->set_idle_timeout_s(scene.idle_timeout_s);
    service->set_proxy_protocol(scene.proxy_protocol);
    service->set_refuse(scene.refuse_in_silence ? link::REFUSE_DROP : link::REFUSE_RESET);
    service->set_ping(scene.ping);
    service->mutable_blade_ids()->Assign(scene.pool.begin(), scene.pool.end());
    for (const SceneRoute& described : scene.routes) {
        auto* route = service->add_routes();
        route->set_server_name(described.server_name);
        route->set_alpn(described.alpn);
        route->mutable_blade_ids()->Assign(described.blades.begin(), described.blades.end());
    }
    service->set_hello_timeout_us(100'000);
    const Address v4 = address(kVip4), v6 = address(kVip6);
    service->add_addresses(std::string(v4.begin() + 12, v4.end()));
    service->add_addresses(std::string(v6.begin(), v6.end()));
    const auto add = [&](uint16_t id, link::Intake intake, bool gone = false) {
        auto* blade = m.add_blades();
        blade->set_id(id);
        blade->set_address(
            std::string({10, static_cast<char>(77 + (id >> 8)), 0, static_cast<char>(10 + id)}));
        blade->set_intake(intake);
        blade->set_gone(gone);
        if (scene.pool.empty()) service->add_blade_ids(id);
    };
    for (uint32_t i = 0; i < scene.other_services; i++) {
        auto* other = m.add_services();
        other->set_name("other" + std::to_string(i));
        other->set_port(443);
        other->set_steering(link::STEER_TUPLE);
        other->add_addresses(
            std::string({10, static_cast<char>(i >> 16), static_cast<char>(i >> 8), static_cast<char>(i)}));
        other->mutable_blade_ids()->Add(scene.up.front());
    }
    for (const auto& [byte, blade] : scene.ticket_keys) {
        auto* key = m.add_ticket_keys();
        key->set_name(std::string(kTicketKeyNameSize, static_cast<char>(byte)));
        key->set_blade(blade);
    }
    for (const uint16_t id : scene.up) add(id, link::INTAKE_OPEN);
    for (const uint16_t id : scene.draining) add(id, link::INTAKE_DRAINING);
    for (const uint16_t id : scene.down) add(id, link::INTAKE_NONE, true);
    for (const uint16_t id : scene.closed) add(id, link::INTAKE_NONE);
    for (const uint16_t id : scene.overloaded) add(id, link::INTAKE_OVERLOADED);
    return m;
}

SessionName Harness::name(uint16_t blade, uint8_t salt) {
    return keyrail::testing::name_at(
        std::span(reinterpret_cast<const uint8_t*>(kNameKeyBytes.data()), kNameKeyBytes.size()), 1, blade,
        salt);
}

}  // namespace keyrail::test
