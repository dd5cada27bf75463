// SPDX-License-Identifier: Apache-2.0
// OpenSSL as the server loaded it. The library links neither libssl nor libcrypto: which copy is the server's
// shows only at run time (Apache loads it with mod_ssl, Python with RTLD_LOCAL), so that every function is
// looked up there.
#pragma once

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

namespace keyrail::hooks {

// Functions that we stand in front of.
#define KEYRAIL_INTERPOSED(X)               \
    X(SSL_CTX_new)                          \
    X(SSL_CTX_new_ex)                       \
    X(SSL_CTX_ctrl)                         \
    X(SSL_CTX_callback_ctrl)                \
    X(SSL_CTX_sess_set_new_cb)              \
    X(SSL_CTX_sess_set_get_cb)              \
    X(SSL_CTX_sess_set_remove_cb)           \
    X(SSL_CTX_sess_get_new_cb)              \
    X(SSL_CTX_sess_get_get_cb)              \
    X(SSL_CTX_sess_get_remove_cb)           \
    X(SSL_CTX_set_client_hello_cb)          \
    X(SSL_CTX_set_generate_session_id)      \
    X(SSL_CTX_set_session_ticket_cb)        \
    X(SSL_CTX_set_tlsext_ticket_key_evp_cb) \
    X(SSL_set_generate_session_id)          \
    X(SSL_clear_options)                    \
    X(SSL_get_servername)                   \
    X(SSL_get_session)                      \
    X(SSL_set_accept_state)                 \
    X(SSL_accept)                           \
    X(SSL_clear)                            \
    X(SSL_do_handshake)                     \
    X(SSL_read_early_data)                  \
    X(SSL_write)                            \
    X(SSL_write_ex)                         \
    X(SSL_free)

// Functions that the hooks call.
#define KEYRAIL_CALLED(X)               \
    X(CRYPTO_get_ex_new_index)          \
    X(ERR_new)                          \
    X(ERR_pop_to_mark)                  \
    X(ERR_set_error)                    \
    X(ERR_set_mark)                     \
    X(EVP_CIPHER_CTX_free)              \
    X(EVP_CIPHER_CTX_new)               \
    X(EVP_CIPHER_CTX_set_padding)       \
    X(EVP_CipherInit_ex)                \
    X(EVP_CipherUpdate)                 \
    X(EVP_Digest)                       \
    X(EVP_MAC_CTX_set_params)           \
    X(EVP_MD_fetch)                     \
    X(EVP_aes_128_cbc)                  \
    X(EVP_aes_128_ecb)                  \
    X(OPENSSL_sk_num)                   \
    X(OPENSSL_sk_value)                 \
    X(RAND_bytes)                       \
    X(SSL_CTX_get0_certificate)         \
    X(SSL_CTX_get_cert_store)           \
    X(SSL_CTX_get_ex_data)              \
    X(SSL_CTX_get_options)              \
    X(SSL_CTX_get_ssl_method)           \
    X(SSL_CTX_set_ex_data)              \
    X(SSL_SESSION_free)                 \
    X(SSL_SESSION_get0_cipher)          \
    X(SSL_SESSION_get0_hostname)        \
    X(SSL_SESSION_get0_peer)            \
    X(SSL_SESSION_get_ex_data)          \
    X(SSL_SESSION_get_id)               \
    X(SSL_SESSION_get_master_key)       \
    X(SSL_SESSION_get_protocol_version) \
    X(SSL_SESSION_get_time)             \
    X(SSL_SESSION_get_timeout)          \
    X(SSL_SESSION_new)                  \
    X(SSL_SESSION_set1_id)              \
    X(SSL_SESSION_set1_master_key)      \
    X(SSL_SESSION_set_ex_data)          \
    X(SSL_SESSION_set_time)             \
    X(SSL_SESSION_up_ref)               \
    X(SSL_client_hello_get0_ext)        \
    X(SSL_ctrl)                         \
    X(SSL_get0_param)                   \
    X(SSL_get_SSL_CTX)                  \
    X(SSL_get_ciphers)                  \
    X(SSL_get_client_random)            \
    X(SSL_get_ex_data)                  \
    X(SSL_get_fd)                       \
    X(SSL_get_max_early_data)           \
    X(SSL_get_server_random)            \
    X(SSL_get_options)                  \
    X(SSL_get_verify_callback)          \
    X(SSL_get_verify_depth)             \
    X(SSL_get_verify_mode)              \
    X(SSL_get_verify_result)            \
    X(SSL_in_before)                    \
    X(SSL_is_init_finished)             \
    X(SSL_is_server)                    \
    X(SSL_new_session_ticket)           \
    X(SSL_session_reused)               \
    X(SSL_set_allow_early_data_cb)      \
    X(SSL_set_ex_data)                  \
    X(SSL_set_max_early_data)           \
    X(SSL_set_num_tickets)              \
    X(SSL_set_SSL_CTX)                  \
    X(SSL_set_options)                  \
    X(SSL_set_session_id_context)       \
    X(SSL_set_verify)                   \
    X(SSL_set_verify_depth)             \
    X(SSL_version)                      \
    X(SSL_want)                         \
    X(TLS_client_method)                \
    X(X509_CRL_digest)                  \
    X(X509_OBJECT_get0_X509)            \
    X(X509_OBJECT_get0_X509_CRL)        \
    X(X509_STORE_free)                  \
    X(X509_STORE_get0_objects)          \
    X(X509_STORE_get0_param)            \
    X(X509_STORE_lock)                  \
    X(X509_STORE_unlock)                \
    X(X509_STORE_up_ref)                \
    X(X509_VERIFY_PARAM_get_flags)      \
    X(X509_cmp_time)                    \
    X(X509_digest)                      \
    X(X509_free)                        \
    X(X509_get0_notAfter)               \
    X(X509_up_ref)                      \
    X(d2i_SSL_SESSION)                  \
    X(i2d_SSL_SESSION)

struct OpensslCalls {
#define KEYRAIL_DECLARE(name) decltype(&::name) name;
    KEYRAIL_INTERPOSED(KEYRAIL_DECLARE)
    KEYRAIL_CALLED(KEYRAIL_DECLARE)
#undef KEYRAIL_DECLARE
    /// Everything was found: this is an OpenSSL that we know (3.x). If not, only pass calls on.
    bool complete;
};

/// Looked up at the first call, then always the same. Ends the process when it calls an OpenSSL function that
/// no loaded library has: it could not have been linked.
const OpensslCalls& openssl();

}  // namespace keyrail::hooks
