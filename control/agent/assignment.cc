// SPDX-License-Identifier: Apache-2.0
#include "control/agent/assignment.h"

#include <openssl/crypto.h>

#include <algorithm>

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
    for (const auto& key : message.name_keys()) {
        if (key.generation() > UINT8_MAX) return fail("name key generation {} cannot be", key.generation());
        const auto generation = static_cast<uint8_t>(key.generation());
        auto& place = out.name_keys[generation];
        if (auto copied = copy_key(key.key(), place, "name key"); !copied) return copied;
        if (!key.current()) continue;
        out.control.has_name_key = true;
        out.control.name_key_generation = generation;
        out.control.name_key = place;
    }
    return {};
}

Result<void> read_services(const chassis::Keys& message, Assignment& out) {
    uint32_t lifetime = 0;  // the hooks know one for all services: the shortest, so that none is exceeded
    for (const auto& service : message.services()) {
        if (service.port() == 0 || service.port() > UINT16_MAX)
            return fail("service {} has port {}", service.name(), service.port());
        const auto port = static_cast<uint16_t>(service.port());
        out.ports.insert(port);
        for (const std::string& text : service.addresses()) {
            auto address = parse_ip(text);
            if (!address) return fail("service {}: {}", service.name(), address.error().message);
            out.services.insert({*address, port});
            if (service.hold()) out.held.insert({*address, port});
        }
        if (service.session_lifetime_s() != 0 && (lifetime == 0 || service.session_lifetime_s() < lifetime))
            lifetime = service.session_lifetime_s();
    }
    if (lifetime != 0) out.control.session_lifetime_s = lifetime;
    return {};
}

Result<void> read_peers(const chassis::Keys& message, uint16_t self, Assignment& out) {
    for (const auto& peer : message.peers()) {
        if (peer.blade_id() < kBladeIdMin || peer.blade_id() > kBladeIdMax)
            return fail("blade {} cannot be", peer.blade_id());
        auto address = parse_host_port(peer.address());
        if (!address) return fail("blade {}: {}", peer.blade_id(), address.error().message);
        if (peer.blade_id() != self) out.peers.emplace(static_cast<uint16_t>(peer.blade_id()), *address);
    }
    return {};
}

}  // namespace

Assignment::~Assignment() {
    for (auto& key : cookie_keys)
        if (key) OPENSSL_cleanse(key->data(), key->size());
    for (auto& [generation, key] : name_keys) OPENSSL_cleanse(key.data(), key.size());
    OPENSSL_cleanse(control.name_key.data(), control.name_key.size());
}

Result<Assignment> Assignment::from(const chassis::Keys& message, uint16_t self) {
    if (message.blade_id() != self)
        return fail("keyraild takes this blade for blade {}; compare the two configurations",
                    message.blade_id());
    Assignment out;
    out.control.blade_id = self;
    auto read = read_cookie_keys(message, out);
    if (read) read = read_name_keys(message, out);
    if (read) read = read_services(message, out);
    if (read) read = read_peers(message, self, out);
    if (!read) return tl::make_unexpected(read.error());
    return out;
}

}  // namespace keyrail
