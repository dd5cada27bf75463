// SPDX-License-Identifier: Apache-2.0
#include "control/agent/health_report.h"

namespace keyrail {

void HealthReport::measure(uint64_t moves) {
    load_.measure();
    move_meter_.measure(moves);
}

void HealthReport::add_costs(chassis::Health& health) const {
    for (const HandshakeCost& cost : store_.costs()) {
        auto& out = *health.add_costs();
        out.set_service(served_.name(cost.service));
        out.set_tls_version(cost.tls13 ? 0x0304 : 0x0303);
        out.set_resumed(cost.resumed);
        out.set_count(cost.count);
        out.set_cpu_ns(cost.cpu_ns);
        out.set_wall_ns(cost.wall_ns);
    }
}

chassis::Envelope HealthReport::message(const ServerWatch::Ports& servers, uint64_t keys_version,
                                        const Mover::Cost& moves) const {
    chassis::Envelope message;
    chassis::Health& health = *message.mutable_health();
    for (const auto& [port, listening] : servers) {
        auto& server = *health.add_servers();
        server.set_port(port);
        server.set_listening(listening);
    }
    const StoreStats stats = store_.stats();
    health.set_load(load_.current());
    health.set_sessions(stats.sessions);
    health.set_store_bytes(stats.bytes);
    health.set_resumed(stats.resumed);
    health.set_full(stats.full);
    add_costs(health);
    health.set_keys_version(keys_version);
    health.mutable_moves()->set_count(moves.moves);
    health.mutable_moves()->set_cpu_ns(move_meter_.cpu_ns());
    health.mutable_moves()->set_wall_ns(static_cast<uint64_t>(moves.wall.count()));
    return message;
}

}  // namespace keyrail
