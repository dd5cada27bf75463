// SPDX-License-Identifier: Apache-2.0
// libkeyrail-tls.so: the OpenSSL functions that an unmodified server calls, with ours in front (LD_PRELOAD).
// libssl calls some of them itself (SSL_CTX_new -> SSL_CTX_new_ex, SSL_accept -> SSL_do_handshake): all of
// them may therefore be entered twice for one call.
#include "control/hooks/connection.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/server_name.h"
#include "control/hooks/sessions.h"
#include "control/hooks/ssl_ctx.h"

using keyrail::hooks::attach;
using keyrail::hooks::connection_of;
using keyrail::hooks::HandshakeStep;
using keyrail::hooks::hooks_of;
using keyrail::hooks::openssl;

// The names and types are OpenSSL's: exported, and nothing else is (hooks.map).
#define KEYRAIL_EXPORT __attribute__((visibility("default")))

extern "C" {

KEYRAIL_EXPORT SSL_CTX* SSL_CTX_new(const SSL_METHOD* method) {
    SSL_CTX* context = openssl().SSL_CTX_new(method);
    attach(context);
    return context;
}

KEYRAIL_EXPORT SSL_CTX* SSL_CTX_new_ex(OSSL_LIB_CTX* library, const char* properties,
                                       const SSL_METHOD* method) {
    SSL_CTX* context = openssl().SSL_CTX_new_ex(library, properties, method);
    attach(context);
    return context;
}

KEYRAIL_EXPORT long SSL_CTX_ctrl(SSL_CTX* context, int command, long number, void* pointer) {
    const bool ours = command == SSL_CTRL_SET_SESS_CACHE_MODE || command == SSL_CTRL_GET_SESS_CACHE_MODE ||
                      command == SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG;
    auto* hooks = ours && context != nullptr ? hooks_of(context) : nullptr;
    if (hooks != nullptr && command == SSL_CTRL_GET_SESS_CACHE_MODE) return hooks->cache_mode;
    if (hooks != nullptr && command == SSL_CTRL_SET_SESS_CACHE_MODE)
        return keyrail::hooks::set_cache_mode(context, *hooks, number);
    if (hooks != nullptr) hooks->server_name_argument = pointer;
    return openssl().SSL_CTX_ctrl(context, command, number, pointer);
}

KEYRAIL_EXPORT long SSL_CTX_callback_ctrl(SSL_CTX* context, int command, void (*callback)()) {
    if (command == SSL_CTRL_SET_TLSEXT_SERVERNAME_CB)
        if (auto* hooks = hooks_of(context))
            hooks->on_server_name = reinterpret_cast<keyrail::hooks::ServerNameCallback>(callback);
    return openssl().SSL_CTX_callback_ctrl(context, command, callback);
}

// The server is asked for its site before OpenSSL has read the name: see server_name.h.
KEYRAIL_EXPORT const char* SSL_get_servername(const SSL* ssl, int type) {
    const char* name = type == TLSEXT_NAMETYPE_host_name ? keyrail::hooks::asked_for(ssl) : nullptr;
    return name != nullptr ? name : openssl().SSL_get_servername(ssl, type);
}

KEYRAIL_EXPORT void SSL_CTX_sess_set_new_cb(SSL_CTX* context, int (*callback)(SSL*, SSL_SESSION*)) {
    if (auto* hooks = hooks_of(context)) {
        hooks->on_new = callback;
    } else {
        openssl().SSL_CTX_sess_set_new_cb(context, callback);
    }
}

KEYRAIL_EXPORT int (*SSL_CTX_sess_get_new_cb(SSL_CTX* context))(SSL*, SSL_SESSION*) {
    auto* hooks = hooks_of(context);
    return hooks != nullptr ? hooks->on_new : openssl().SSL_CTX_sess_get_new_cb(context);
}

KEYRAIL_EXPORT void SSL_CTX_sess_set_get_cb(SSL_CTX* context,
                                            SSL_SESSION* (*callback)(SSL*, const unsigned char*, int, int*)) {
    if (auto* hooks = hooks_of(context)) {
        hooks->on_get = callback;
    } else {
        openssl().SSL_CTX_sess_set_get_cb(context, callback);
    }
}

KEYRAIL_EXPORT SSL_SESSION* (*SSL_CTX_sess_get_get_cb(SSL_CTX* context))(SSL*, const unsigned char*, int,
                                                                         int*) {
    auto* hooks = hooks_of(context);
    return hooks != nullptr ? hooks->on_get : openssl().SSL_CTX_sess_get_get_cb(context);
}

KEYRAIL_EXPORT void SSL_CTX_sess_set_remove_cb(SSL_CTX* context, void (*callback)(SSL_CTX*, SSL_SESSION*)) {
    if (auto* hooks = hooks_of(context)) {
        hooks->on_remove = callback;
    } else {
        openssl().SSL_CTX_sess_set_remove_cb(context, callback);
    }
}

KEYRAIL_EXPORT void (*SSL_CTX_sess_get_remove_cb(SSL_CTX* context))(SSL_CTX*, SSL_SESSION*) {
    auto* hooks = hooks_of(context);
    return hooks != nullptr ? hooks->on_remove : openssl().SSL_CTX_sess_get_remove_cb(context);
}

// The name must say where the session is: an application's own generator is not used.
KEYRAIL_EXPORT int SSL_CTX_set_generate_session_id(SSL_CTX* context, GEN_SESSION_CB callback) {
    return hooks_of(context) != nullptr ? 1 : openssl().SSL_CTX_set_generate_session_id(context, callback);
}

KEYRAIL_EXPORT int SSL_set_generate_session_id(SSL* ssl, GEN_SESSION_CB callback) {
    return connection_of(ssl) != nullptr ? 1 : openssl().SSL_set_generate_session_id(ssl, callback);
}

KEYRAIL_EXPORT void SSL_CTX_set_client_hello_cb(SSL_CTX* context, SSL_client_hello_cb_fn callback,
                                                void* argument) {
    if (auto* hooks = hooks_of(context)) {
        hooks->on_client_hello = callback;
        hooks->client_hello_argument = argument;
    } else {
        openssl().SSL_CTX_set_client_hello_cb(context, callback, argument);
    }
}

// Tickets say where the session is, too. An application's own keys would make others.
KEYRAIL_EXPORT int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX* context,
                                                        int (*callback)(SSL*, unsigned char*, unsigned char*,
                                                                        EVP_CIPHER_CTX*, EVP_MAC_CTX*, int)) {
    auto* hooks = hooks_of(context);
    if (hooks != nullptr) hooks->on_ticket_keys = callback;
    return hooks != nullptr && hooks->stored
               ? 1
               : openssl().SSL_CTX_set_tlsext_ticket_key_evp_cb(context, callback);
}

KEYRAIL_EXPORT int SSL_CTX_set_session_ticket_cb(SSL_CTX* context, SSL_CTX_generate_session_ticket_fn make,
                                                 SSL_CTX_decrypt_session_ticket_fn open, void* argument) {
    const auto* hooks = hooks_of(context);
    return hooks != nullptr && hooks->stored
               ? 1
               : openssl().SSL_CTX_set_session_ticket_cb(context, make, open, argument);
}

KEYRAIL_EXPORT SSL_SESSION* SSL_get_session(const SSL* ssl) {
    SSL_SESSION* session = openssl().SSL_get_session(ssl);
    return session != nullptr ? session : keyrail::hooks::session_to_be(ssl);
}

// nginx and others copy the options of the SSL_CTX that SNI chose, and clear those that it does not have.
KEYRAIL_EXPORT uint64_t SSL_clear_options(SSL* ssl, uint64_t options) {
    return openssl().SSL_clear_options(ssl, options & ~keyrail::hooks::kept_options(ssl));
}

KEYRAIL_EXPORT void SSL_set_accept_state(SSL* ssl) {
    openssl().SSL_set_accept_state(ssl);
    keyrail::hooks::become_server(ssl);
}

KEYRAIL_EXPORT int SSL_accept(SSL* ssl) {
    // A libssl linked with -Bsymbolic does not come by SSL_set_accept_state above.
    if (openssl().SSL_in_before(ssl) != 0 && connection_of(ssl) == nullptr) SSL_set_accept_state(ssl);
    HandshakeStep step(ssl);
    return step.end(openssl().SSL_accept(ssl));
}

KEYRAIL_EXPORT int SSL_do_handshake(SSL* ssl) {
    HandshakeStep step(ssl);
    return step.end(openssl().SSL_do_handshake(ssl));
}

// Servers with early data (RFC 8446 section 2.3) make their handshakes by this.
KEYRAIL_EXPORT int SSL_read_early_data(SSL* ssl, void* buffer, size_t size, size_t* count) {
    HandshakeStep step(ssl);
    return step.end(openssl().SSL_read_early_data(ssl, buffer, size, count), SSL_READ_EARLY_DATA_ERROR);
}

KEYRAIL_EXPORT int SSL_write(SSL* ssl, const void* buffer, int size) {
    keyrail::hooks::renew_ticket(ssl);
    return openssl().SSL_write(ssl, buffer, size);
}

KEYRAIL_EXPORT int SSL_write_ex(SSL* ssl, const void* buffer, size_t size, size_t* written) {
    keyrail::hooks::renew_ticket(ssl);
    return openssl().SSL_write_ex(ssl, buffer, size, written);
}

KEYRAIL_EXPORT int SSL_clear(SSL* ssl) {
    const keyrail::hooks::KeepSessions unclean_close;
    keyrail::hooks::start_again(ssl);
    return openssl().SSL_clear(ssl);
}

KEYRAIL_EXPORT void SSL_free(SSL* ssl) {
    const keyrail::hooks::KeepSessions unclean_close;
    openssl().SSL_free(ssl);
}

}  // extern "C"
