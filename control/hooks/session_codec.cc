// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/session_codec.h"

#include <algorithm>
#include <cstring>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

/// Asks for the size first: i2d has no notion of the room there is.
bool write_der(SSL_SESSION* session, SessionRecord& record) {
    const int size = openssl().i2d_SSL_SESSION(session, nullptr);
    if (size <= 0 || static_cast<size_t>(size) > record.der.size()) return false;
    unsigned char* out = record.der.data();
    if (openssl().i2d_SSL_SESSION(session, &out) != size) return false;
    record.der_size = static_cast<uint16_t>(size);
    return true;
}

bool encode(SSL_SESSION* session, const Lineage& lineage, const SessionPolicy& policy, const SiteMark& site,
            uint64_t now_ms, SessionRecord& record) {
    const auto& ssl = openssl();
    unsigned int name_size = 0;
    const unsigned char* name = ssl.SSL_SESSION_get_id(session, &name_size);
    if (name_size != kSessionNameSize) return false;
    std::memcpy(record.name.data(), name, kSessionNameSize);

    record.site = site;
    record.tls_version = static_cast<TlsVersion>(ssl.SSL_SESSION_get_protocol_version(session));
    record.single_use = policy.tickets == Tickets::kSingleUse && record.tls_version == TlsVersion::tls13;
    record.moved_in = record.early_data_spent = false;
    record.service = policy.service;
    record.uses = lineage.uses;
    record.digest = lineage.digest;
    record.created_ms = now_ms;
    record.authenticated_ms = lineage.authenticated_ms != 0 ? lineage.authenticated_ms : now_ms;
    const long timeout_s = std::clamp(ssl.SSL_SESSION_get_timeout(session), 0L, 7L * 24 * 3600);
    record.expires_ms = std::min(now_ms + static_cast<uint64_t>(timeout_s) * 1000,
                                 record.authenticated_ms + uint64_t{policy.lifetime_s} * 1000);
    return record.expires_ms > now_ms && write_der(session, record);
}

SSL_SESSION* decode(const SessionRecord& record, uint64_t now_ms) {
    const auto& ssl = openssl();
    const unsigned char* at = record.der.data();
    SSL_SESSION* session = ssl.d2i_SSL_SESSION(nullptr, &at, record.der_size);
    if (session == nullptr) return nullptr;
    unsigned int name_size = 0;
    const unsigned char* name = ssl.SSL_SESSION_get_id(session, &name_size);
    const bool sane = name_size == kSessionNameSize &&
                      std::memcmp(name, record.name.data(), name_size) == 0 &&
                      ssl.SSL_SESSION_get_protocol_version(session) == number_of(record.tls_version) &&
                      ssl.SSL_SESSION_get0_cipher(session) != nullptr;
    if (!sane) {
        ssl.SSL_SESSION_free(session);
        return nullptr;
    }
    ssl.SSL_SESSION_set_time(session, static_cast<long>(std::min(record.created_ms, now_ms) / 1000));
    return session;
}

bool cipher_allowed(const SSL* ssl, const SSL_SESSION* session) {
    const auto& calls = openssl();
    const auto* allowed = reinterpret_cast<const OPENSSL_STACK*>(calls.SSL_get_ciphers(ssl));
    const SSL_CIPHER* cipher = calls.SSL_SESSION_get0_cipher(session);
    for (int i = calls.OPENSSL_sk_num(allowed); cipher != nullptr && i-- > 0;) {
        if (calls.OPENSSL_sk_value(allowed, i) == cipher) return true;  // both point into libssl's one table
    }
    return false;
}

}  // namespace keyrail::hooks
