// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/ssl_ctx.h"

#include <pthread.h>

#include <new>

#include "control/hooks/current_store.h"
#include "control/hooks/digest.h"
#include "control/hooks/errors.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/sessions.h"
#include "control/hooks/tickets.h"

namespace keyrail::hooks {

namespace {

int ex_index = -1;
pthread_once_t once = PTHREAD_ONCE_INIT;

void free_hooks(void*, void* data, CRYPTO_EX_DATA*, int, long, void*) {
    delete static_cast<ContextHooks*>(data);
}

void make_index() {
    ex_index =
        openssl().CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, nullptr, nullptr, nullptr, free_hooks);
}

bool ready() {
    if (!openssl().complete) return false;
    pthread_once(&once, make_index);
    return ex_index >= 0;
}

}  // namespace

ContextHooks* hooks_of(const SSL_CTX* context) {
    return ready() ? static_cast<ContextHooks*>(openssl().SSL_CTX_get_ex_data(context, ex_index)) : nullptr;
}

void attach(SSL_CTX* context) {
    const auto& calls = openssl();
    if (context == nullptr || !ready() || hooks_of(context) != nullptr) return;
    const OwnErrors quiet;
    if (calls.SSL_CTX_get_ssl_method(context) == calls.TLS_client_method() || sha256() == nullptr) return;
    auto* hooks = new (std::nothrow) ContextHooks;
    if (hooks == nullptr || calls.SSL_CTX_set_ex_data(context, ex_index, hooks) != 1) {
        delete hooks;
        return;
    }
    calls.SSL_CTX_sess_set_new_cb(context, on_new);
    calls.SSL_CTX_sess_set_get_cb(context, on_get);
    calls.SSL_CTX_sess_set_remove_cb(context, on_remove);
    calls.SSL_CTX_set_generate_session_id(context, on_generate);
    calls.SSL_CTX_set_client_hello_cb(context, on_client_hello, nullptr);
    if (current_store(Look::kNow) != nullptr) use_store(context, *hooks);
}

void use_store(SSL_CTX* context, ContextHooks& hooks) {
    if (hooks.stored.exchange(true, std::memory_order_relaxed)) return;
    set_cache_mode(context, hooks, hooks.cache_mode);
    openssl().SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket_keys);
    openssl().SSL_CTX_set_session_ticket_cb(context, on_ticket_wanted, on_ticket, nullptr);
}

long set_cache_mode(SSL_CTX* context, ContextHooks& hooks, long mode) {
    constexpr long kOurs = SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR;
    const long before = hooks.cache_mode;
    hooks.cache_mode = mode;
    const long forced = hooks.client_only() || !hooks.stored ? mode : kOurs | (mode & SSL_SESS_CACHE_CLIENT);
    openssl().SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, forced, nullptr);
    return before;
}

}  // namespace keyrail::hooks
