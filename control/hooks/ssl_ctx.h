// SPDX-License-Identifier: Apache-2.0
// What the hooks do to a server's SSL_CTX: its sessions go into the blade's store and come back from there
// (sessions.cc), and nothing else keeps them. facts: one copy only, wherever the session is.
#pragma once

#include <openssl/ssl.h>

#include <atomic>

#include "control/hooks/site.h"
#include "control/store/store.h"

namespace keyrail::hooks {

using NewCallback = int (*)(SSL*, SSL_SESSION*);
using GetCallback = SSL_SESSION* (*)(SSL*, const unsigned char*, int, int*);
using RemoveCallback = void (*)(SSL_CTX*, SSL_SESSION*);
using ServerNameCallback = int (*)(SSL*, int*, void*);
using TicketKeysCallback = int (*)(SSL*, unsigned char*, unsigned char*, EVP_CIPHER_CTX*, EVP_MAC_CTX*, int);

/// A hooked SSL_CTX: what the application set and believes to be in force, and is as long as there is no
/// store.
struct ContextHooks {
    std::atomic<bool> stored{false};  // its sessions go into the store, and nothing else keeps them
    NewCallback on_new = nullptr;
    GetCallback on_get = nullptr;
    RemoveCallback on_remove = nullptr;
    long cache_mode = SSL_SESS_CACHE_SERVER;  // OpenSSL's default
    ServerNameCallback on_server_name = nullptr;
    void* server_name_argument = nullptr;
    SSL_client_hello_cb_fn on_client_hello = nullptr;
    void* client_hello_argument = nullptr;
    TicketKeysCallback on_ticket_keys = nullptr;
    SiteCache site{};

    /// Set up for connections that the application makes, not takes: left alone.
    [[nodiscard]] bool client_only() const {
        return (cache_mode & SSL_SESS_CACHE_BOTH) == SSL_SESS_CACHE_CLIENT;
    }
};

/// Hooks a new SSL_CTX; a second call for the same one does nothing, nor does one for a client's method.
void attach(SSL_CTX* context);
/// nullptr: not hooked.
ContextHooks* hooks_of(const SSL_CTX* context);

/// There is a store: from now on the application's own cache gets only what that cannot take.
void use_store(SSL_CTX* context, ContextHooks& hooks);
/// SSL_CTRL_SET_SESS_CACHE_MODE: returns the application's value before.
long set_cache_mode(SSL_CTX* context, ContextHooks& hooks, long mode);

}  // namespace keyrail::hooks
