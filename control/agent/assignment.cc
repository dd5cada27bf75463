// SPDX-License-Identifier: Apache-2.0
#include "control/agent/assignment.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <vector>

#include "chassis.pb.h"

namespace keyrail {

namespace {

template <typename Key>
Result<void> copy_key(const std::string& from, Key& to, const char* what) {
    if (from.size() != to.size()) return fail("a {} has {} bytes, not {}", what, from.size(), to.size());
    std::ranges::copy(from, reinterpret_cast<char*>(to.data()));
    return {};
}

Result<void> read_cookie_keys(const chassis::Keys& message, Assignment& out) {
    for (const auto& key : message.cookie_keys()) {
        if (key.key_id() >= out.cookie_keys.size()) return fail("cookie key {} cannot be", key.key_id());
        auto& place = out.cookie_keys[key.key_id()].emplace();
        if (auto copied = copy_key(key.key(), place, "cookie key"); !copied) return copied;
    }
    return {};
}

Result<void> read_name_keys(const chassis::Keys& message, Assignment& out) {
    StoreControl& control = out.control;
    for (const auto& key : message.name_keys()) {
        if (key.generation() > UINT8_MAX) return fail("name key generation {} cannot be", key.generation());
        const auto generation = static_cast<uint8_t>(key.generation());
        auto& place = out.name_keys[generation];
        if (auto copied = copy_key(key.key(), place, "name key"); !copied) return copied;
        if (!key.current()) continue;
        control.name_key_count = 1;
        control.name_keys[0] = {generation, place};
    }
    if (control.name_key_count == 0) return {};
    for (const auto& [generation, key] : out.name_keys) {
        if (generation == control.name_keys[0].generation) continue;
        if (control.name_key_count == StoreControl::kMaxNameKeys) break;  // names of the others: a plain miss
        control.name_keys[control.name_key_count++] = {generation, key};
    }
    return {};
}

SessionPolicy policy_of(const chassis::ServiceOnBlade& service) {
    SessionPolicy policy;
    policy.service = ServiceId::of(service.name());
    if (service.session_lifetime_s() != 0) policy.lifetime_s = service.session_lifetime_s();
    policy.tickets = service.tickets() == chassis::ServiceOnBlade::REUSABLE          ? Tickets::kReusable
                     : service.tickets() == chassis::ServiceOnBlade::EARLY_DATA_ONCE ? Tickets::kEarlyDataOnce
                                                                                     : Tickets::kSingleUse;
    policy.early_data = service.early_data() && policy.tickets != Tickets::kReusable;
    policy.has_id_context = !service.id_context().empty();
    if (policy.has_id_context)
        SHA256(reinterpret_cast<const uint8_t*>(service.id_context().data()), service.id_context().size(),
               policy.id_context.data());
    return policy;
}

ServiceEndpoint endpoint_of(const IpAddress& address, uint16_t port, uint16_t slot) {
    return {address.mapped(), port, slot};
}

/// The servers' table. Services and addresses beyond its bounds count as not known: the strictest policy
/// holds.
void tell_servers(const chassis::ServiceOnBlade& service, const std::vector<IpAddress>& addresses,
                  StoreControl& control) {
    const SessionPolicy policy = policy_of(service);
    SessionPolicy& unknown = control.services[0];
    // On a blade with one service a connection whose service is not seen can only be that one's.
    unknown = control.service_count == 1 ? policy : stricter(unknown, policy);
    unknown.has_id_context = false;
    if (control.service_count == StoreControl::kMaxServices) return;
    const uint16_t slot = control.service_count++;
    control.services[slot] = policy;
    for (const IpAddress& address : addresses) {
        if (control.endpoint_count == StoreControl::kMaxEndpoints) return;
        control.endpoints[control.endpoint_count++] =
            endpoint_of(address, static_cast<uint16_t>(service.port()), slot);
    }
}

Result<void> read_services(const chassis::Keys& message, Assignment& out) {
    for (const auto& service : message.services()) {
        if (service.port() == 0 || service.port() > UINT16_MAX)
            return fail("service {} has port {}", service.name(), service.port());
        const auto port = static_cast<uint16_t>(service.port());
        out.served.add(service.name(), port);
        if (service.repository()) out.sealed.insert(service.name());
        std::vector<IpAddress> addresses;
        for (const std::string& text : service.addresses()) {
            auto address = parse_ip(text);
            if (!address) return fail("service {}: {}", service.name(), address.error().message);
            out.services.insert({*address, port});
            if (service.hold()) out.held.insert({*address, port});
            addresses.push_back(*address);
        }
        tell_servers(service, addresses, out.control);
    }
    return {};
}

/// Those beyond the bounds are counted as clients.
void read_checkers(const chassis::Keys& message, StoreControl& control) {
    for (const std::string& bytes : message.checks_from()) {
        const auto address = address_of_bytes(bytes);
        if (!address || control.checker_count == StoreControl::kMaxCheckers) continue;
        control.checkers[control.checker_count++] = address->mapped();
    }
}

Result<void> read_peers(const chassis::Keys& message, BladeId self, Assignment& out) {
    for (const auto& peer : message.peers()) {
        if (peer.blade_id() < BladeId::kMin || peer.blade_id() > BladeId::kMax)
            return fail("blade {} cannot be", peer.blade_id());
        auto address = parse_host_port(peer.address());
        if (!address) return fail("blade {}: {}", peer.blade_id(), address.error().message);
        if (peer.blade_id() == self) continue;
        PeerBlade& blade = out.peers[BladeId::or_none(peer.blade_id())];
        blade.address = *address;
        blade.certificates.insert(peer.certificates().begin(), peer.certificates().end());
    }
    for (const uint32_t blade : message.revoked())
        if (blade != self && blade <= BladeId::kMax) out.revoked.insert(BladeId::or_none(blade));
    return {};
}

}  // namespace

Assignment::~Assignment() {
    for (auto& key : cookie_keys)
        if (key) OPENSSL_cleanse(key->data(), key->size());
    for (auto& [generation, key] : name_keys) OPENSSL_cleanse(key.data(), key.size());
    OPENSSL_cleanse(control.name_keys.data(), sizeof control.name_keys);
}

Result<Assignment> Assignment::from(const chassis::Keys& message, BladeId self) {
    if (message.blade_id() != self)
        return fail("keyraild takes this blade for blade {}; compare the two configurations",
                    message.blade_id());
    Assignment out;
    out.version = message.version();
    out.control.blade_id = self;
    auto read = read_cookie_keys(message, out);
    if (read) read = read_name_keys(message, out);
    if (read) read = read_services(message, out);
    read_checkers(message, out.control);
    if (read) read = read_peers(message, self, out);
    if (!read) return tl::make_unexpected(read.error());
    return out;
}

}  // namespace keyrail
