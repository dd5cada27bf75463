// SPDX-License-Identifier: Apache-2.0
#include "control/agent/health_report.h"

namespace keyrail {

namespace {

/// Servers are in the order of their addresses: ports of several come again.
void add_servers(const ServerWatch::Servers& servers, const ServerCheck::Verdicts& verdicts,
                 chassis::Health& health) {
    std::map<uint16_t, chassis::ServerHealth*> ports;
    for (const auto& [at, server] : servers) {
        auto [entry, fresh] = ports.try_emplace(at.port);
        if (fresh) entry->second = health.add_servers();
        chassis::ServerHealth& out = *entry->second;
        out.set_port(at.port);
        out.set_listening(out.listening() || server.listening);
        auto& endpoint = *out.add_endpoints();
        endpoint.set_address(at.address.text());
        endpoint.set_listening(server.listening);
        endpoint.set_address_here(server.address_here);
        endpoint.set_mptcp(server.mptcp);
        const auto verdict = verdicts.find(at);
        if (verdict == verdicts.end()) continue;
        endpoint.set_hangs(verdict->second.hangs);
        endpoint.set_hooks(verdict->second.hooks == Hooks::present  ? chassis::ServerHealth::HOOKS_PRESENT
                           : verdict->second.hooks == Hooks::absent ? chassis::ServerHealth::HOOKS_ABSENT
                                                                    : chassis::ServerHealth::HOOKS_UNKNOWN);
    }
}

}  // namespace

void HealthReport::measure(uint64_t moves) {
    load_.measure();
    move_meter_.measure(moves);
}

void HealthReport::add_costs(chassis::Health& health) const {
    for (const HandshakeCost& cost : store_.costs()) {
        auto& out = *health.add_costs();
        out.set_service(served_.name(cost.service));
        out.set_tls_version(number_of(cost.tls13 ? TlsVersion::tls13 : TlsVersion::tls12));
        out.set_resumed(cost.resumed);
        out.set_count(cost.count);
        out.set_cpu_ns(cost.cpu_ns);
        out.set_wall_ns(cost.wall_ns);
    }
}

chassis::Envelope HealthReport::message(const ServerWatch::Servers& servers,
                                        const ServerCheck::Verdicts& verdicts,
                                        const LateBinding& late_binding, uint64_t keys_version,
                                        const Mover::Cost& moves) const {
    chassis::Envelope message;
    chassis::Health& health = *message.mutable_health();
    add_servers(servers, verdicts, health);
    for (const auto& [reason, count] : late_binding.counts()) {
        auto& out = *health.add_accept();
        out.set_reason(reason);
        out.set_count(count);
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
