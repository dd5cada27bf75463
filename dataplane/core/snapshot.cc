// SPDX-License-Identifier: Apache-2.0
#include "dataplane/core/snapshot.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "dataplane/core/names.h"
#include "link.pb.h"

namespace keyrail {
namespace {

constexpr size_t kMaxPools = 4096;  // a ring takes 32 KiB

Result<Address> to_address(const std::string& bytes, std::string_view whose) {
    Address address{};
    if (bytes.size() == 16) {
        std::memcpy(address.data(), bytes.data(), 16);
    } else if (bytes.size() == 4) {
        address[10] = address[11] = 0xff;
        std::memcpy(&address[12], bytes.data(), 4);
    } else {
        return fail("{}: an address has 4 or 16 bytes, not {}", whose, bytes.size());
    }
    return address;
}

Result<void> add_cookie_keys(const link::Snapshot& message, Snapshot& snapshot) {
    bool current = false;
    for (const auto& key : message.cookie_keys()) {
        if (key.key_id() > 1 || key.key().size() != sizeof(kr_cookie_key))
            return fail("cookie key: key_id must be 0 or 1 and the key 16 bytes");
        std::memcpy(&snapshot.cookie_keys[key.key_id()], key.key().data(), sizeof(kr_cookie_key));
        if (key.current()) snapshot.cookie_key = static_cast<uint8_t>(key.key_id());
        current |= key.current();
    }
    if (!current) return fail("no cookie key is marked as the current one");
    return {};
}

Result<void> add_name_keys(const link::Snapshot& message, Snapshot& snapshot) {
    for (const auto& key : message.name_keys()) {
        if (key.generation() > 255 || key.key().size() != kNameKeySize)
            return fail("name key: generation must be 0..255 and the key 16 bytes");
        auto& place = snapshot.name_keys[key.generation()];
        if (place) return fail("name key generation {} is there twice", key.generation());
        place = std::make_unique<NameKey>();
        expand_name_key(std::span<const uint8_t, kNameKeySize>(
                            reinterpret_cast<const uint8_t*>(key.key().data()), kNameKeySize),
                        *place);
    }
    return {};
}

Result<void> add_ticket_keys(const link::Snapshot& message, Snapshot& snapshot) {
    for (const auto& key : message.ticket_keys()) {
        if (key.name().size() != kTicketKeyNameSize)
            return fail("ticket key: its name has {} bytes, not {}", key.name().size(), kTicketKeyNameSize);
        if (key.blade() > BladeId::kMax || !snapshot.blades[key.blade()].known)
            return fail("ticket key: there is no blade {}", key.blade());
        TicketKey& added = snapshot.ticket_keys.emplace_back();
        std::ranges::copy(key.name(), reinterpret_cast<char*>(added.name.data()));
        added.blade = BladeId::or_none(key.blade());
    }
    std::ranges::sort(snapshot.ticket_keys, {}, &TicketKey::name);
    if (std::ranges::adjacent_find(snapshot.ticket_keys, {}, &TicketKey::name) != snapshot.ticket_keys.end())
        return fail("a ticket key is there twice");
    return {};
}

Intake to_intake(link::Intake intake) {
    switch (intake) {
        case link::INTAKE_OPEN:
            return Intake::open;
        case link::INTAKE_DRAINING:
            return Intake::draining;
        case link::INTAKE_OVERLOADED:
            return Intake::overloaded;
        default:
            return Intake::none;
    }
}

Result<void> add_blades(const link::Snapshot& message, Snapshot& snapshot) {
    for (const auto& blade : message.blades()) {
        if (blade.id() < BladeId::kMin || blade.id() > BladeId::kMax)
            return fail("blade id {} is not in {}..{}", blade.id(), BladeId::kMin, BladeId::kMax);
        BladeEntry& entry = snapshot.blades[blade.id()];
        if (entry.known) return fail("blade id {} is there twice", blade.id());
        if (const auto address = to_address(blade.address(), blade.name()); !address)
            return tl::make_unexpected(address.error());
        entry.known = true;
        entry.flows_live = !blade.gone();
        entry.intake = blade.gone() ? Intake::none : to_intake(blade.intake());
        entry.load = static_cast<uint16_t>(std::min<uint32_t>(blade.load(), UINT16_MAX));
        snapshot.blade_addresses[blade.id()].assign(blade.address().begin(), blade.address().end());
    }
    return {};
}

/// New clients go to the blades that are open; others serve only where nothing else is left.
Maglev make_ring(const Pool& pool, const Snapshot& snapshot) {
    for (const Intake intake : {Intake::open, Intake::overloaded, Intake::draining}) {
        std::vector<BladeId> eligible;
        std::vector<uint8_t> weights;
        for (size_t i = 0; i < pool.blades.size(); i++) {
            if (snapshot.blades[pool.blades[i]].intake != intake) continue;
            eligible.push_back(pool.blades[i]);
            if (!pool.weights.empty()) weights.push_back(pool.weights[i]);
        }
        if (!eligible.empty()) return {eligible, weights};
    }
    return {};
}

/// Its blades, ascending, and what they weigh.
template <typename Owner>
Result<Pool> read_pool(const Owner& owner, const Snapshot& snapshot, std::string_view service) {
    constexpr uint32_t kMaxWeight = 100;
    const bool weighted = owner.weights_size() != 0;
    if (weighted && owner.weights_size() != owner.blade_ids_size())
        return fail("service {}: {} weights for {} blades", service, owner.weights_size(),
                    owner.blade_ids_size());
    std::vector<std::pair<BladeId, uint8_t>> blades;
    for (int i = 0; i < owner.blade_ids_size(); i++) {
        const uint32_t id = owner.blade_ids(i), weight = weighted ? owner.weights(i) : 1;
        if (id > BladeId::kMax || !snapshot.blades[id].known)
            return fail("service {}: there is no blade {}", service, id);
        if (weight < 1 || weight > kMaxWeight)
            return fail("service {}: weight {} is not in 1..{}", service, weight, kMaxWeight);
        blades.emplace_back(BladeId::or_none(id), static_cast<uint8_t>(weight));
    }
    std::ranges::sort(blades);
    Pool pool;
    for (const auto& [id, weight] : blades) {
        pool.blades.push_back(id);
        if (weighted) pool.weights.push_back(weight);
    }
    return pool;
}

/// Index of the pool with these blades; made where it is new.
template <typename Owner>
Result<uint16_t> pool_of(const Owner& owner, Snapshot& snapshot, std::string_view service) {
    auto read = read_pool(owner, snapshot, service);
    if (!read) return tl::make_unexpected(read.error());
    const auto found = std::ranges::find_if(snapshot.pools, [&](const Pool& pool) {
        return pool.blades == read->blades && pool.weights == read->weights;
    });
    const auto index = static_cast<uint16_t>(found - snapshot.pools.begin());
    if (found != snapshot.pools.end()) return index;
    if (index == kMaxPools) return fail("more than {} different pools", kMaxPools);
    Pool& pool = snapshot.pools.emplace_back(std::move(*read));
    pool.ring = make_ring(pool, snapshot);
    for (const BladeId blade : pool.blades) pool.members.set(blade);
    return index;
}

void use_pool(Service& service, const Pool& pool) {
    service.served |= !pool.ring.empty();
    std::vector<BladeId> members;
    std::ranges::set_union(service.members, pool.blades, std::back_inserter(members));
    service.members = std::move(members);
}

Result<void> add_pools(const link::Service& message, Snapshot& snapshot, Service& service) {
    const auto pool = pool_of(message, snapshot, service.name);
    if (!pool) return tl::make_unexpected(pool.error());
    service.pool = *pool;
    use_pool(service, snapshot.pools[*pool]);
    for (const link::Route& route : message.routes()) {
        const auto to = pool_of(route, snapshot, service.name);
        if (!to) return tl::make_unexpected(to.error());
        if (const auto added = service.routes.add(route.server_name(), route.alpn(), *to); !added)
            return fail("service {}: {}", service.name, added.error().message);
        use_pool(service, snapshot.pools[*to]);
    }
    return {};
}

Result<Service> make_service(const link::Service& message, Snapshot& snapshot) {
    Service service;
    service.name = message.name();
    service.id = ServiceId::of(service.name);
    service.by_session = message.steering() == link::STEER_SESSION;
    service.late = message.binding() == link::BIND_LATE;
    if (message.port() < 1 || message.port() > UINT16_MAX)
        return fail("service {}: port {} is not in 1..65535", service.name, message.port());
    service.port = static_cast<uint16_t>(message.port());
    service.hold_budget_us = {message.hold_budget_us(), message.hold_budget_tls13_us()};
    service.saving_us = {message.saving_us(), message.saving_tls13_us()};
    service.hold_fixed = message.hold_fixed();
    service.early_data = message.early_data();
    service.content_moves = message.content_moves();
    service.repository = message.repository();
    service.hello_timeout_us = message.hello_timeout_us();
    if (message.hello_limit() > kHelloMax)
        return fail("service {}: hello_limit {} is over {}", service.name, message.hello_limit(), kHelloMax);
    if (message.hello_limit() != 0) service.hello_limit = message.hello_limit();
    service.proxy_header = message.proxy_protocol();
    service.refuse = message.refuse() == link::REFUSE_DROP ? Refuse::drop : Refuse::reset;
    service.ping = message.ping();
    constexpr uint32_t kIdleMax = 30 * 86400;
    if (message.idle_timeout_s() > kIdleMax)
        return fail("service {}: idle_timeout {} s is over {}", service.name, message.idle_timeout_s(),
                    kIdleMax);
    if (message.idle_timeout_s() != 0) service.idle_ticks = message.idle_timeout_s() * kFlowTicks;
    if (const auto added = add_pools(message, snapshot, service); !added)
        return tl::make_unexpected(added.error());
    service.flow_blades = std::max(message.flow_blades(), static_cast<uint32_t>(service.members.size()));
    return service;
}

}  // namespace

Snapshot::~Snapshot() {
    OPENSSL_cleanse(cookie_keys.data(), sizeof cookie_keys);
    for (const auto& key : name_keys)
        if (key) OPENSSL_cleanse(key.get(), sizeof *key);
}

/// Where the service at this VIP and port is, or is to be.
Snapshot::Slot* Snapshot::slot(const Address& address, uint32_t port) {
    const Slot wanted(address, port);
    for (size_t i = wanted.hash();; i++) {
        Slot& s = slots_[i & (slots_.size() - 1)];
        if (s.service == kNoService || s.is_at(wanted)) return &s;
    }
}

const Service* Snapshot::service(ServiceId id) const {
    const auto found = std::ranges::lower_bound(ids_, id, {}, &std::pair<ServiceId, uint16_t>::first);
    return found != ids_.end() && found->first == id ? &services[found->second] : nullptr;
}

BladeId Snapshot::ticket_blade(Bytes key_name) const {
    if (key_name.size() != kTicketKeyNameSize) return {};
    TicketKey wanted;
    std::ranges::copy(key_name, wanted.name.begin());
    const auto found = std::ranges::lower_bound(ticket_keys, wanted.name, {}, &TicketKey::name);
    return found != ticket_keys.end() && found->name == wanted.name ? found->blade : BladeId{};
}

void Snapshot::add_vip(const Address& address, const Service& service) {
    Slot& at = *slot(address, kAnyPort);
    if (at.service == kNoService) {
        at = Slot(address, kAnyPort);
        at.service = static_cast<uint16_t>(vips_.size());
        vips_.emplace_back();
    }
    Vip& vip = vips_[at.service];
    if (service.refuse == Refuse::drop) vip.refuse = Refuse::drop;
    vip.ping &= service.ping;
    vip.served |= service.served;
}

Result<std::unique_ptr<Snapshot>> Snapshot::build(const link::Snapshot& message) {
    auto snapshot = std::make_unique<Snapshot>();
    snapshot->generation = message.generation();
    for (const auto step : {add_cookie_keys, add_name_keys, add_blades, add_ticket_keys})
        if (const auto done = step(message, *snapshot); !done) return tl::make_unexpected(done.error());

    size_t addresses = 0;
    for (const auto& service : message.services()) addresses += static_cast<size_t>(service.addresses_size());
    if (message.services_size() >= kNoService)
        return fail("{} services are too many", message.services_size());
    snapshot->slots_.resize(std::bit_ceil(4 * addresses + 2));  // each address takes two slots at most
    for (const auto& described : message.services()) {
        auto service = make_service(described, *snapshot);
        if (!service) return tl::make_unexpected(service.error());
        const auto index = static_cast<uint16_t>(snapshot->services.size());
        for (const std::string& bytes : described.addresses()) {
            const auto address = to_address(bytes, service->name);
            if (!address) return tl::make_unexpected(address.error());
            Slot* place = snapshot->slot(*address, service->port);
            if (place->service != kNoService)
                return fail("service {}: its address and port are another service's", service->name);
            *place = Slot(*address, service->port);
            place->service = index;
            snapshot->add_vip(*address, *service);
        }
        snapshot->ids_.emplace_back(service->id, index);
        snapshot->services.push_back(std::move(*service));
    }
    std::ranges::sort(snapshot->ids_);
    const auto twice = std::ranges::adjacent_find(snapshot->ids_, {}, &std::pair<ServiceId, uint16_t>::first);
    if (twice != snapshot->ids_.end())
        return fail("service {} is there twice", snapshot->services[twice->second].name);
    return snapshot;
}

}  // namespace keyrail
