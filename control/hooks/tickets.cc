// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/tickets.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

#include <cstring>
#include <span>

#include "control/hooks/connection.h"
#include "control/hooks/errors.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/session_names.h"
#include "control/hooks/sessions.h"

namespace keyrail::hooks {

namespace {

constexpr size_t kKeyNameSize = 16, kIvSize = 16, kKeySize = 16;
static_assert(kKeyNameSize + kIvSize == kSessionNameSize);
using MasterSecret = std::array<uint8_t, SSL_MAX_MASTER_KEY_LENGTH>;

/// Keys that only who has both the name key and the session can make.
bool set_keys(const Store& store, const SessionName& name, const SSL_SESSION* session, EVP_CIPHER_CTX* cipher,
              EVP_MAC_CTX* mac, int seal) {
    const auto& calls = openssl();
    MasterSecret master{};
    std::array<uint8_t, 2 * kKeySize> keys{};
    const size_t size = calls.SSL_SESSION_get_master_key(session, master.data(), master.size());
    bool done = size != 0 && derive_secret(store, name, std::span(master).first(size), keys);
    if (done) {
        char digest[] = "SHA256";
        const OSSL_PARAM parameters[] = {
            {OSSL_MAC_PARAM_KEY, OSSL_PARAM_OCTET_STRING, &keys[kKeySize], kKeySize, OSSL_PARAM_UNMODIFIED},
            {OSSL_MAC_PARAM_DIGEST, OSSL_PARAM_UTF8_STRING, digest, sizeof digest - 1, OSSL_PARAM_UNMODIFIED},
            OSSL_PARAM_END};
        done = calls.EVP_CipherInit_ex(cipher, calls.EVP_aes_128_cbc(), nullptr, keys.data(),
                                       &name[kKeyNameSize], seal) == 1 &&
               calls.EVP_MAC_CTX_set_params(mac, parameters) == 1;
    }
    explicit_bzero(master.data(), master.size());
    explicit_bzero(keys.data(), keys.size());
    return done;
}

bool copy_master_secret(const SSL_SESSION* from, SSL_SESSION* to) {
    const auto& calls = openssl();
    MasterSecret master{};
    const size_t size = calls.SSL_SESSION_get_master_key(from, master.data(), master.size());
    const bool done = size != 0 && calls.SSL_SESSION_set1_master_key(to, master.data(), size) == 1;
    explicit_bzero(master.data(), master.size());
    return done;
}

/// Random bytes in its place, of which nobody knows anything.
bool hide_master_secret(SSL_SESSION* session) {
    const auto& calls = openssl();
    MasterSecret noise{};
    return calls.RAND_bytes(noise.data(), static_cast<int>(noise.size())) == 1 &&
           calls.SSL_SESSION_set1_master_key(session, noise.data(), noise.size()) == 1;
}

/// A full handshake's session gets its name here, just before OpenSSL asks whether to keep it. One that was
/// resumed by its id, of a client that would have a ticket as well, has it already.
bool name_for_ticket(SSL* ssl, SSL_SESSION* session, const Store& store, SessionName& name) {
    const auto& calls = openssl();
    unsigned int size = 0;
    const unsigned char* id = calls.SSL_SESSION_get_id(session, &size);
    if (calls.SSL_session_reused(ssl) == 1) {
        if (size != name.size()) return false;
        std::memcpy(name.data(), id, name.size());
        return true;
    }
    return make_session_name(store, name) &&
           calls.SSL_SESSION_set1_id(session, name.data(), static_cast<unsigned int>(name.size())) == 1;
}

/// OpenSSL has written the session down. No ticket where its master secret was not hidden before.
bool seal_ticket(SSL* ssl, Connection& connection, unsigned char* key_name, unsigned char* iv,
                 EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac) {
    SSL_SESSION* session = openssl().SSL_get_session(ssl);
    if (session == nullptr || connection.keeper == nullptr) return false;
    const bool whole = copy_master_secret(connection.keeper, session);
    release_keeper(connection);
    const Store& store = store_of(connection);
    SessionName name{};
    if (!whole || !name_for_ticket(ssl, session, store, name) ||
        !set_keys(store, name, session, cipher, mac, 1))
        return false;
    std::memcpy(key_name, name.data(), kKeyNameSize);
    std::memcpy(iv, &name[kKeyNameSize], kIvSize);
    return true;
}

bool find_ticket(SSL* ssl, Connection& connection, const unsigned char* key_name, const unsigned char* iv,
                 EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac) {
    SessionName name;
    std::memcpy(name.data(), key_name, kKeyNameSize);
    std::memcpy(&name[kKeyNameSize], iv, kIvSize);
    int copy = 1;
    SSL_SESSION* session = on_get(ssl, name.data(), static_cast<int>(name.size()), &copy);
    if (session == nullptr || (copy != 0 && openssl().SSL_SESSION_up_ref(session) != 1)) return false;
    release_keeper(connection);
    connection.keeper = session;
    return set_keys(store_of(connection), name, session, cipher, mac, 0);
}

/// The highest version that both sides know. (A server that cannot do TLS 1.3 for other reasons gives ids.)
bool may_become_tls13(SSL* ssl) {
    const auto& calls = openssl();
    const long most = calls.SSL_ctrl(ssl, SSL_CTRL_GET_MAX_PROTO_VERSION, 0, nullptr);
    if ((calls.SSL_get_options(ssl) & SSL_OP_NO_TLSv1_3) != 0 || (most != 0 && most < TLS1_3_VERSION))
        return false;
    const unsigned char* bytes = nullptr;
    size_t size = 0;  // RFC 8446 section 4.2.1: a length, then two bytes for each
    if (calls.SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &bytes, &size) != 1)
        return false;
    for (size_t i = 1; i + 1 < size; i += 2)
        if (bytes[i] == TLS1_3_VERSION >> 8 && bytes[i + 1] == (TLS1_3_VERSION & 0xff)) return true;
    return false;
}

void choose_tickets(SSL* ssl) {
    const auto& calls = openssl();
    const Connection* connection = connection_of(ssl);
    if (connection == nullptr || !has_name_key(store_of(*connection)) || may_become_tls13(ssl)) return;
    // A server that wants no tickets gives none.
    if ((calls.SSL_CTX_get_options(calls.SSL_get_SSL_CTX(ssl)) & SSL_OP_NO_TICKET) != 0) return;
    calls.SSL_clear_options(ssl, SSL_OP_NO_TICKET);
}

}  // namespace

int on_client_hello(SSL* ssl, int* alert, void*) {
    {
        const OwnErrors quiet;
        if (Connection* connection = connection_of(ssl)) begin(ssl, *connection);
        choose_tickets(ssl);
    }
    const ContextHooks* hooks = hooks_of(openssl().SSL_get_SSL_CTX(ssl));
    if (hooks == nullptr || hooks->on_client_hello == nullptr) return SSL_CLIENT_HELLO_SUCCESS;
    return hooks->on_client_hello(ssl, alert, hooks->client_hello_argument);
}

int on_ticket_wanted(SSL* ssl, void*) {
    const auto& calls = openssl();
    Connection* connection = connection_of(ssl);
    SSL_SESSION* session = calls.SSL_get_session(ssl);
    if (connection == nullptr || session == nullptr || calls.SSL_version(ssl) == TLS1_3_VERSION) return 1;
    const OwnErrors quiet;
    release_keeper(*connection);
    // One out of the application's own cache is shared with other connections: no ticket.
    if (calls.SSL_session_reused(ssl) == 1 && !connection->ours) return 1;
    connection->keeper = calls.SSL_SESSION_new();
    if (connection->keeper == nullptr || !copy_master_secret(session, connection->keeper) ||
        !hide_master_secret(session)) {
        release_keeper(*connection);  // whose secret the session still has
    }
    return 1;
}

int on_ticket_keys(SSL* ssl, unsigned char* key_name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                   EVP_MAC_CTX* mac, int seal) {
    Connection* connection = connection_of(ssl);
    if (connection == nullptr) {  // there was a store, and is none
        const ContextHooks* hooks = hooks_of(openssl().SSL_get_SSL_CTX(ssl));
        return hooks != nullptr && hooks->on_ticket_keys != nullptr
                   ? hooks->on_ticket_keys(ssl, key_name, iv, cipher, mac, seal)
                   : 0;
    }
    const OwnErrors quiet;
    if (openssl().SSL_version(ssl) == TLS1_3_VERSION) return 0;
    const bool done = seal == 1 ? seal_ticket(ssl, *connection, key_name, iv, cipher, mac)
                                : find_ticket(ssl, *connection, key_name, iv, cipher, mac);
    return done ? 1 : 0;
}

SSL_TICKET_RETURN on_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char*, size_t,
                            SSL_TICKET_STATUS status, void*) {
    const auto& calls = openssl();
    // A new one then; whether there is none, or whether it was not ours, OpenSSL knows.
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    Connection* connection = connection_of(ssl);
    if (connection == nullptr)
        return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
    const OwnErrors quiet;
    const bool whole = connection->keeper != nullptr && copy_master_secret(connection->keeper, session);
    // The record's time is this blade's; the ticket's is that of the blade that made it.
    if (whole) calls.SSL_SESSION_set_time(session, calls.SSL_SESSION_get_time(connection->keeper));
    release_keeper(*connection);
    set_unproven(session, true);
    return whole ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_IGNORE_RENEW;
}

void release_keeper(Connection& connection) {
    openssl().SSL_SESSION_free(connection.keeper);
    connection.keeper = nullptr;
}

void name_resumed_session(SSL* ssl) {
    const Connection* connection = connection_of(ssl);
    if (connection == nullptr || !connection->ours) return;
    SSL_SESSION* session = openssl().SSL_get_session(ssl);
    unsigned int size = 0;
    const unsigned char* id = session != nullptr ? openssl().SSL_SESSION_get_id(session, &size) : nullptr;
    const SessionName& name = connection->name;
    if (id == nullptr || (size == name.size() && std::memcmp(id, name.data(), size) == 0)) return;
    openssl().SSL_SESSION_set1_id(session, name.data(), static_cast<unsigned int>(name.size()));
}

}  // namespace keyrail::hooks
