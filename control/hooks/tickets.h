// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 session tickets (RFC 5077), for clients that know no session ids (Go), and which say where the
// session is, as ids do. The session is where each one is: in the store, once, to be moved, used and purged
// there.
//
//   bytes 0..31  the session's name (where RFC 5077 section 4 has key name and IV)
//   then         what OpenSSL wants back, a copy of the session, but with random bytes for its master secret:
//                AES-128-CBC, its IV the name's second half
//   then         HMAC-SHA-256 of all that
//
// Both keys are made of the name key and of the session's master secret, as the store has it. So only a blade
// that has the session opens its ticket, and can do something with it: the master secret is in the store
// only. And the client, who knows the master secret, cannot make one.
#pragma once

#include <openssl/ssl.h>

#include "control/hooks/connection.h"

namespace keyrail::hooks {

/// SSL_CTX_set_client_hello_cb: whether the connection's tickets are of TLS 1.2 or of TLS 1.3, where they are
/// stateful by OpenSSL's own means (SSL_OP_NO_TICKET), must be clear before OpenSSL looks at them.
int on_client_hello(SSL* ssl, int* alert, void* unused);

/// SSL_CTX_set_session_ticket_cb: a ticket is about to be made. Takes the master secret out of the session,
/// which OpenSSL writes down as it is, and leaves that in its memory, until the keys are asked for.
int on_ticket_wanted(SSL* ssl, void* unused);

/// SSL_CTX_set_tlsext_ticket_key_evp_cb: puts the name into a new ticket; finds the session of one that is
/// offered.
int on_ticket_keys(SSL* ssl, unsigned char* key_name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                   EVP_MAC_CTX* mac, int seal);

/// SSL_CTX_set_session_ticket_cb: a ticket was opened, and gets its master secret, or was none of ours.
SSL_TICKET_RETURN on_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char* key_name,
                            size_t key_name_size, SSL_TICKET_STATUS status, void* unused);

/// Nothing is made or opened any more.
void release_keeper(Connection& connection);

/// The session that a ticket brought has the id that the client made up for it; from here on it has its name.
void name_resumed_session(SSL* ssl);

}  // namespace keyrail::hooks
