// SPDX-License-Identifier: Apache-2.0
// One TLS connection of a hooked server: which service it is of, what that wants of its sessions, where its
// session comes from, and what its handshake costs.
#pragma once

#include <openssl/ssl.h>

#include <optional>

#include "control/hooks/session_codec.h"
#include "control/hooks/site.h"
#include "control/hooks/socket_watch.h"
#include "control/hooks/ssl_ctx.h"
#include "control/store/store.h"

namespace keyrail::hooks {

struct Connection {
    static constexpr uint16_t kNoSlot = UINT16_MAX;  // at an address that is none of the services'

    /// Of the SSL_CTX it began with: OpenSSL keeps to that one's callbacks after an SNI switch too.
    ContextHooks* context;
    Store* first_store;  // there when it began

    // From its first step on.
    bool begun = false;
    uint16_t slot = 0;         // of StoreControl::services
    int socket = -1;           // that the server reads itself (HAProxy, Apache): see socket_watch.h
    bool place_known = false;  // else nothing is read yet, of a socket that OpenSSL does not know
    uint16_t port = 0;         // 0: none of a service, as far as we see
    bool service_seen = false;
    bool is_check = false;  // of keyraild, no client's: it is not counted
    SessionPolicy policy;
    int verify_mode = -1;  // as the site wants it at the handshake; a server may demand more later

    // The session that is being resumed.
    bool site_known = false;   // the server was asked which site this is: see server_name.h
    std::optional<Site> site;  // nullopt: none that sessions are for
    bool ours = false;         // the session came out of our store, for a site with this mark
    SiteMark mark{};
    SessionName name{};
    Lineage lineage;
    bool stays = false;            // in the store: it is reusable
    uint32_t purges = 0;           // Store::purges() before it came out of the store
    SSL_SESSION* taken = nullptr;  // single use, ours until the handshake is done: see on_get
    SessionInfo taken_info;
    bool pulled = false;
    SSL_SESSION* keeper =
        nullptr;  // has the master secret while a TLS 1.2 ticket is made or opened: see tickets.h
    uint32_t withheld_early_data = 0;

    // The handshake.
    bool measured = false, in_step = false, done = false, unwelcome = false, ticket_renewed = false;
    uint64_t began_ns = 0, cpu_ns = 0;
};

/// The store, which may have been replaced since the connection began.
Store& store_of(const Connection& connection);
/// The connection becomes a server's, if there is a store now; else OpenSSL does as it would without us.
/// Stateful tickets, and early data without OpenSSL's own replay protection (which needs its internal cache):
/// a session that is taken out of the store can be used only once.
void become_server(SSL* ssl);
/// nullptr: not of a hooked server.
Connection* connection_of(const SSL* ssl);
/// Options that a hooked server's connection keeps, whatever the application clears.
uint64_t kept_options(const SSL* ssl);

/// Finds service and policy, once, as soon as there is a socket; where the server reads that itself, as soon
/// as it has read the ClientHello.
void begin(SSL* ssl, Connection& connection);
/// The lineage of sessions that come out of this connection's handshake.
Lineage lineage_from(SSL* ssl, const Connection& connection);
/// What becomes of the session that was taken: used, it is gone. When OpenSSL did not resume it (its binder
/// was wrong: somebody has only seen its name; the connection broke before; the suites do not fit) it goes
/// back.
void settle(SSL* ssl, Connection& connection);
/// SSL_clear: the connection is used again.
void start_again(SSL* ssl);

/// The site that it is at, by what that wants at the handshake.
Site site_at_handshake(SSL* ssl, Connection& connection);

/// Around a call that may take the handshake further: what it costs, whether it is done, and whether the
/// session is still one for the site that it has come to.
class HandshakeStep {
  public:
    explicit HandshakeStep(SSL* ssl);
    HandshakeStep(const HandshakeStep&) = delete;
    HandshakeStep& operator=(const HandshakeStep&) = delete;
    /// What the server is to get as the call's result: `failure` where the handshake must not go on.
    [[nodiscard]] int end(int result, int failure = -1);

  private:
    SSL* ssl_;
    Connection* connection_;  // nullptr: nothing to do, or within another step
    SocketWatch watch_;
    uint64_t cpu_began_ns_ = 0;
};

/// Before a server writes: while the agent asks for it, each TLS 1.3 connection gets one fresh ticket, which
/// OpenSSL sends ahead of the data. A client that is about to be closed can then resume elsewhere.
void renew_ticket(SSL* ssl);

}  // namespace keyrail::hooks
