// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/ssl_ctx.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cstring>
#include <new>

#include "control/hooks/current_store.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/session_codec.h"
#include "control/hooks/session_name_maker.h"

namespace keyrail::hooks {

namespace {

/// A connection of a hooked server.
struct ConnectionHooks {
    /// Of the SSL_CTX it began with: OpenSSL keeps to that one's callbacks after an SNI switch too.
    ContextHooks* context;
    SSL_SESSION* taken = nullptr;  // single use, ours until the handshake is done: see on_get
    SessionName taken_name{};
    Lineage lineage;  // of the session that is being resumed
    bool counted = false;
};

int context_index = -1;
int connection_index = -1;
pthread_once_t once = PTHREAD_ONCE_INIT;

ConnectionHooks* connection_of(const SSL* ssl) {
    return static_cast<ConnectionHooks*>(openssl().SSL_get_ex_data(ssl, connection_index));
}

ContextHooks* context_of(const SSL* ssl) {
    const ConnectionHooks* connection = connection_of(ssl);
    return connection != nullptr ? connection->context : hooks_of(openssl().SSL_get_SSL_CTX(ssl));
}

void let_go(ConnectionHooks& connection) {
    if (connection.taken != nullptr) openssl().SSL_SESSION_free(connection.taken);
    connection.taken = nullptr;
}

void free_context(void*, void* data, CRYPTO_EX_DATA*, int, long, void*) {
    delete static_cast<ContextHooks*>(data);
}

void free_connection(void* parent, void* data, CRYPTO_EX_DATA*, int, long, void*) {
    auto* connection = static_cast<ConnectionHooks*>(data);
    if (connection == nullptr) return;
    if (parent != nullptr) handshake_done(static_cast<SSL*>(parent));
    let_go(*connection);
    delete connection;
}

/// SSL_dup: the copy starts without hooks of its own.
int duplicate_connection(CRYPTO_EX_DATA*, const CRYPTO_EX_DATA*, void** data, int, long, void*) {
    *data = nullptr;
    return 1;
}

void make_indexes() {
    const auto& ssl = openssl();
    context_index =
        ssl.CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, nullptr, nullptr, nullptr, free_context);
    connection_index = ssl.CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, nullptr, nullptr,
                                                   duplicate_connection, free_connection);
}

bool ready() {
    if (!openssl().complete) return false;
    pthread_once(&once, make_indexes);
    return context_index >= 0 && connection_index >= 0;
}

/// The local port, 0 when the server reads and writes the socket itself (HAProxy, Apache).
uint16_t local_port(const SSL* ssl) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd = openssl().SSL_get_fd(ssl);
    if (fd < 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port);
    if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6&>(address).sin6_port);
    return 0;
}

uint32_t lifetime_of(const Store& store) {
    auto control = store.control();
    if (!control) return StoreControl{}.session_lifetime_s;
    explicit_bzero(control->name_key.data(), control->name_key.size());
    return control->session_lifetime_s;
}

bool store_session(SSL* ssl, SSL_SESSION* session, Store& store) {
    const auto& calls = openssl();
    Lineage lineage;
    const ConnectionHooks* connection = connection_of(ssl);
    if (connection != nullptr && calls.SSL_session_reused(ssl) == 1) {
        lineage = connection->lineage;
        lineage.uses++;
    }
    SessionRecord record;
    if (!encode(session, lineage, lifetime_of(store), wall_clock_ms(), record)) return false;
    record.port = local_port(ssl);
    return store.put(record) == Store::Put::kStored;
}

int on_new(SSL* ssl, SSL_SESSION* session) {
    const auto& calls = openssl();
    const ContextHooks* hooks = context_of(ssl);
    if (hooks == nullptr) return 0;
    if (calls.SSL_is_server(ssl) == 0) return hooks->on_new != nullptr ? hooks->on_new(ssl, session) : 0;
    // A session is in our store or in the application's cache, never in both: a copy there would still be
    // resumed after the session was used up or moved away. The application gets only what is too large for
    // us.
    if (store_session(ssl, session, *hooks->store)) return 0;
    const bool reusable = calls.SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION;
    return reusable && hooks->on_new != nullptr ? hooks->on_new(ssl, session) : 0;
}

SSL_SESSION* fetch(SSL* ssl, const SessionName& name, ConnectionHooks* connection, Store& store) {
    const auto& calls = openssl();
    const auto version = static_cast<uint16_t>(calls.SSL_version(ssl));
    const uint64_t now = wall_clock_ms();
    SessionRecord record;
    if (!store.resume(name, version, now, record)) return nullptr;
    SSL_SESSION* session = decode(record, now);
    if (session == nullptr) return nullptr;
    if (version != TLS1_3_VERSION && !cipher_allowed(ssl, session)) {
        calls.SSL_SESSION_free(session);
        return nullptr;
    }
    if (connection == nullptr) return session;
    connection->lineage = {record.authenticated_ms, record.uses};
    if (record.single_use && calls.SSL_SESSION_up_ref(session) == 1) {
        let_go(*connection);
        connection->taken = session;
        connection->taken_name = name;
    }
    return session;
}

SSL_SESSION* on_get(SSL* ssl, const unsigned char* id, int size, int* copy) {
    const auto& calls = openssl();
    const ContextHooks* hooks = context_of(ssl);
    if (hooks == nullptr) return nullptr;
    if (size == static_cast<int>(kSessionNameSize)) {
        SessionName name;
        std::memcpy(name.data(), id, name.size());
        ConnectionHooks* connection = connection_of(ssl);
        // After a HelloRetryRequest OpenSSL asks again for the same name (RFC 8446 section 4.1.4), which is
        // gone.
        SSL_SESSION* session = nullptr;
        if (connection != nullptr && connection->taken != nullptr && connection->taken_name == name) {
            if (calls.SSL_SESSION_up_ref(connection->taken) == 1) session = connection->taken;
        } else {
            session = fetch(ssl, name, connection, *hooks->store);
        }
        if (session != nullptr) {
            *copy = 0;  // the reference is OpenSSL's
            return session;
        }
    }
    if (hooks->on_get == nullptr || calls.SSL_version(ssl) == TLS1_3_VERSION) return nullptr;
    return hooks->on_get(ssl, id, size, copy);
}

void on_remove(SSL_CTX* context, SSL_SESSION* session) {
    const ContextHooks* hooks = hooks_of(context);
    if (hooks == nullptr) return;
    unsigned int size = 0;
    const unsigned char* id = openssl().SSL_SESSION_get_id(session, &size);
    if (size == kSessionNameSize && !hooks->client_only() && !KeepSessions::active()) {
        SessionName name;
        std::memcpy(name.data(), id, name.size());
        hooks->store->erase(name);
    }
    if (hooks->on_remove != nullptr) hooks->on_remove(context, session);
}

int on_generate(SSL* ssl, unsigned char* id, unsigned int* size) {
    const ContextHooks* hooks = context_of(ssl);
    SessionName name;
    if (hooks == nullptr || *size < name.size() || !make_session_name(*hooks->store, name)) return 0;
    std::memcpy(id, name.data(), name.size());
    *size = static_cast<unsigned int>(name.size());
    return 1;
}

}  // namespace

thread_local int KeepSessions::depth_ = 0;

ContextHooks* hooks_of(const SSL_CTX* context) {
    return ready() ? static_cast<ContextHooks*>(openssl().SSL_CTX_get_ex_data(context, context_index))
                   : nullptr;
}

void attach(SSL_CTX* context) {
    const auto& calls = openssl();
    if (context == nullptr || !ready() || hooks_of(context) != nullptr) return;
    if (calls.SSL_CTX_get_ssl_method(context) == calls.TLS_client_method()) return;
    Store* store = current_store();
    if (store == nullptr) return;
    auto* hooks = new (std::nothrow) ContextHooks{store};
    if (hooks == nullptr || calls.SSL_CTX_set_ex_data(context, context_index, hooks) != 1) {
        delete hooks;
        return;
    }
    calls.SSL_CTX_sess_set_new_cb(context, on_new);
    calls.SSL_CTX_sess_set_get_cb(context, on_get);
    calls.SSL_CTX_sess_set_remove_cb(context, on_remove);
    calls.SSL_CTX_set_generate_session_id(context, on_generate);
    set_cache_mode(context, *hooks, SSL_SESS_CACHE_SERVER);
}

long set_cache_mode(SSL_CTX* context, ContextHooks& hooks, long mode) {
    constexpr long kOurs = SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR;
    const long before = hooks.cache_mode;
    hooks.cache_mode = mode;
    const long forced = hooks.client_only() ? mode : kOurs | (mode & SSL_SESS_CACHE_CLIENT);
    openssl().SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, forced, nullptr);
    return before;
}

void become_server(SSL* ssl) {
    const auto& calls = openssl();
    ContextHooks* context = hooks_of(calls.SSL_get_SSL_CTX(ssl));
    if (context == nullptr || context->client_only()) return;
    // On the connection, not on the SSL_CTX: servers use the same kind of SSL_CTX for connections that they
    // make.
    calls.SSL_set_options(ssl, SSL_OP_NO_TICKET);
    if (connection_of(ssl) != nullptr) return;
    auto* connection = new (std::nothrow) ConnectionHooks{context};
    if (connection != nullptr && calls.SSL_set_ex_data(ssl, connection_index, connection) != 1)
        delete connection;
}

bool is_hooked_server(const SSL* ssl) { return ready() && connection_of(ssl) != nullptr; }

void handshake_done(SSL* ssl) {
    const auto& calls = openssl();
    if (!ready()) return;
    ConnectionHooks* connection = connection_of(ssl);
    if (connection == nullptr || connection->counted || calls.SSL_in_init(ssl) != 0) return;
    connection->counted = true;
    connection->context->store->count_handshake(calls.SSL_session_reused(ssl) == 1);
    let_go(*connection);
}

}  // namespace keyrail::hooks
