// SPDX-License-Identifier: Apache-2.0
// Snapshot and Keys: filling in messages.
#include "control/daemon/core/snapshot.h"

#include <algorithm>

#include "chassis.pb.h"
#include "control/daemon/blades/binding.h"
#include "link.pb.h"

namespace keyrail {

namespace {

link::Intake link_intake(BladeIntake intake) {
    switch (intake) {
        case BladeIntake::open:
            return link::INTAKE_OPEN;
        case BladeIntake::draining:
            return link::INTAKE_DRAINING;
        case BladeIntake::overloaded:
            return link::INTAKE_OVERLOADED;
        case BladeIntake::none:
            break;
    }
    return link::INTAKE_NONE;
}

/// Late binding: only blades that can take its connections. Of these one that takes nothing new stays in its
/// pools (its intake says enough), and one that does must serve this service: at all of its addresses, while
/// anybody does. What is said of blades may be wrong: where it leaves nobody, it leaves all.
std::vector<BladeId> pool_of(const std::vector<BladeId>& ids, const ServiceConfig& service,
                             const Blades& blades, bool late) {
    std::vector<BladeId> able, listening, well;
    for (const BladeId id : ids)
        if (!late || !blades.all().at(id).unable_to_accept(service.name)) able.push_back(id);
    if (able.empty()) able = ids;
    for (const BladeId id : able) {
        const Blade& blade = blades.all().at(id);
        const bool takes_none = blade.intake() == BladeIntake::none;
        if (takes_none || blade.serves(service.port)) listening.push_back(id);
        if (takes_none || blade.serves_well(service.name)) well.push_back(id);
    }
    const auto takes_some = [&](BladeId id) { return blades.all().at(id).intake() != BladeIntake::none; };
    if (std::ranges::any_of(well, takes_some)) return well;
    return listening.empty() ? able : listening;
}

/// Nothing where all have the whole of their part: most of the time.
template <typename Owner>
void add_weights(Owner& out, const ServiceConfig& service, const Blades& blades) {
    const auto share = [&](uint32_t id) { return blades.all().at(BladeId::or_none(id)).share(service.name); };
    if (std::ranges::all_of(out.blade_ids(), [&](uint32_t id) { return share(id) == BladeWish::kWhole; }))
        return;
    for (const uint32_t id : out.blade_ids()) out.add_weights(share(id));
}

void add_service(link::Service& out, const ServiceConfig& service, const Blades& blades,
                 const Economics& economics, bool disabled) {
    out.set_name(service.name);
    for (const IpAddress& address : service.addresses) out.add_addresses(std::string(address.raw()));
    out.set_port(service.port);
    out.set_steering(service.by_session ? link::STEER_SESSION : link::STEER_TUPLE);
    const bool late = service.by_session && choose_binding(service, blades).late;
    out.set_binding(late ? link::BIND_LATE : link::BIND_EARLY);
    const auto add_pool = [&](auto& to, const std::vector<BladeId>& ids) {
        if (disabled) return;
        for (const BladeId id : pool_of(ids, service, blades, late)) to.add_blade_ids(id);
        add_weights(to, service, blades);
    };
    add_pool(out, service.blades);
    for (const RouteConfig& route : service.routes) {
        link::Route& added = *out.add_routes();
        added.set_server_name(route.sni);
        added.set_alpn(route.alpn);
        add_pool(added, route.blades);
    }
    out.set_content_moves(service.content_moves);
    const auto budget_us = [&](TlsVersion tls_version) {
        return static_cast<uint32_t>(economics.hold_budget(service, tls_version).count());
    };
    out.set_hold_budget_us(budget_us(TlsVersion::tls12));
    out.set_hold_budget_tls13_us(budget_us(TlsVersion::tls13));
    out.set_hold_fixed(service.hold_budget.has_value());
    out.set_early_data(service.early_data);
    out.set_saving_us(static_cast<uint32_t>(economics.saving(service, TlsVersion::tls12).count()));
    out.set_saving_tls13_us(static_cast<uint32_t>(economics.saving(service, TlsVersion::tls13).count()));
    out.set_repository(service.repository != RepositoryKind::none);
    out.set_hello_timeout_us(static_cast<uint32_t>(service.hello_timeout.count()));
    out.set_hello_limit(service.hello_limit);
    out.set_idle_timeout_s(static_cast<uint32_t>(service.idle_timeout.count()));
    out.set_proxy_protocol(service.proxy_protocol);
    out.set_refuse(service.refuse_by_reset ? link::REFUSE_RESET : link::REFUSE_DROP);
    out.set_ping(service.ping);
    out.set_flow_blades(static_cast<uint32_t>(service.members().size()));
}

template <typename Message, typename Key>
void copy_key(Message& out, const Key& key) {
    out.set_key(key.key.bytes.data(), key.key.bytes.size());
}

}  // namespace

link::Snapshot make_snapshot(const Config& config, const Secrets& secrets, const Blades& blades,
                             const Economics& economics, const Wishes* wishes) {
    link::Snapshot snapshot;
    for (const auto& key : secrets.cookie_keys()) {
        link::CookieKey& out = *snapshot.add_cookie_keys();
        out.set_key_id(key.id);
        out.set_current(key.current);
        copy_key(out, key);
    }
    for (const auto& key : secrets.name_keys()) {
        link::NameKey& out = *snapshot.add_name_keys();
        out.set_generation(key.id);
        copy_key(out, key);
    }
    for (const auto& [id, blade] : blades.all()) {
        link::Blade& out = *snapshot.add_blades();
        out.set_id(id);
        out.set_name(blade.config.name);
        out.set_address(std::string(blade.config.address.raw()));
        out.set_intake(link_intake(blade.intake()));
        out.set_load(blade.published_load);
        out.set_gone(blade.gone);
    }
    for (const auto& [id, blade] : blades.left()) {  // in no pool: only for the flows that it has
        link::Blade& out = *snapshot.add_blades();
        out.set_id(id);
        out.set_name(blade.name);
        out.set_address(std::string(blade.address.raw()));
        out.set_intake(link::INTAKE_NONE);
        out.set_gone(blade.gone);
    }
    for (const ServiceConfig& service : config.services)
        add_service(*snapshot.add_services(), service, blades, economics,
                    wishes != nullptr && wishes->disabled(service.name));
    for (const auto& [name, blade] : config.ticket_keys) {
        link::TicketKey& out = *snapshot.add_ticket_keys();
        out.set_name(name);
        out.set_blade(blade);
    }
    return snapshot;
}

namespace {
chassis::ServiceOnBlade::Tickets tickets_of(TicketUse use) {
    if (use == TicketUse::single_use) return chassis::ServiceOnBlade::SINGLE_USE;
    if (use == TicketUse::reusable) return chassis::ServiceOnBlade::REUSABLE;
    return chassis::ServiceOnBlade::EARLY_DATA_ONCE;
}
}  // namespace

chassis::Keys make_keys(const Config& config, const Secrets& secrets, BladeId blade,
                        const std::vector<IpAddress>& checks_from) {
    chassis::Keys keys;
    for (const IpAddress& address : checks_from) keys.add_checks_from(std::string(address.raw()));
    keys.set_blade_id(blade);
    keys.set_pull_budget_us(static_cast<uint32_t>(config.pull_budget.count()));
    for (const auto& key : secrets.cookie_keys()) {
        chassis::CookieKey& out = *keys.add_cookie_keys();
        out.set_key_id(key.id);
        out.set_current(key.current);
        copy_key(out, key);
    }
    for (const auto& key : secrets.name_keys()) {
        chassis::NameKey& out = *keys.add_name_keys();
        out.set_generation(key.id);
        out.set_current(key.current);
        copy_key(out, key);
    }
    for (const ServiceConfig& service : config.services) {
        if (!service.has_member(blade)) continue;
        chassis::ServiceOnBlade& out = *keys.add_services();
        out.set_name(service.name);
        for (const IpAddress& address : service.addresses) out.add_addresses(address.text());
        out.set_port(service.port);
        out.set_hold(service.by_session);
        out.set_session_lifetime_s(static_cast<uint32_t>(service.session_lifetime.count()));
        out.set_tickets(tickets_of(service.tickets));
        out.set_early_data(service.early_data);
        out.set_id_context(service.id_context);
        out.set_repository(service.repository != RepositoryKind::none);
    }
    for (const BladeId id : config.revoked) keys.add_revoked(id);
    for (const auto& [id, peer] : config.blades) {
        if (id == blade || (peer.certificates && peer.certificates->empty())) continue;  // has not joined yet
        chassis::Keys::Peer& out = *keys.add_peers();
        out.set_blade_id(id);
        out.set_address(peer.agent.text());
        for (const std::string& serial : peer.certificates.value_or(std::set<std::string>{}))
            out.add_certificates(serial);
    }
    return keys;
}

}  // namespace keyrail
