// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "control/hooks/current_store.h"
#include "control/hooks/digest.h"
#include "control/hooks/errors.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/sessions.h"
#include "control/hooks/tickets.h"

namespace keyrail::hooks {

namespace {

constexpr uint64_t kServerOptions = SSL_OP_NO_TICKET | SSL_OP_NO_ANTI_REPLAY;

int ex_index = -1;
pthread_once_t once = PTHREAD_ONCE_INIT;

uint64_t now_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// Reading a thread's CPU clock costs up to 2 us: every handshake only while there are few.
bool worth_measuring(const Store& store) {
    constexpr uint32_t kFirst = 64, kOneOf = 16;
    thread_local uint32_t number = 0;
    return number++ % kOneOf == 0 || store.handshakes() < kFirst;
}

/// A reusable session was used. Others may do so at the same time: the chain takes all of them in.
void advance(SSL* ssl, const Connection& connection) {
    Store& store = store_of(connection);
    for (int attempt = 0; attempt < 100; attempt++) {
        const auto info = store.peek(connection.name);
        if (!info || store.advance(connection.name, info->uses, chained(info->digest, ssl))) return;
    }
}

void finish(SSL* ssl, Connection& connection) {
    Store& store = store_of(connection);
    const bool resumed = openssl().SSL_session_reused(ssl) == 1;
    if (connection.verify_mode < 0) connection.verify_mode = openssl().SSL_get_verify_mode(ssl);
    connection.done = true;
    if (!connection.is_check) store.count_handshake(resumed);
    if (resumed) {
        name_resumed_session(ssl);
        set_unproven(openssl().SSL_get_session(ssl), false);
    }
    if (resumed && connection.stays) advance(ssl, connection);
    settle(ssl, connection);
}

void add_cost(SSL* ssl, const Connection& connection) {
    const auto& calls = openssl();
    store_of(connection)
        .add_cost(connection.slot, calls.SSL_version(ssl) == TLS1_3_VERSION,
                  calls.SSL_session_reused(ssl) == 1, connection.cpu_ns,
                  now_ns(CLOCK_MONOTONIC) - connection.began_ns);
}

/// A session was given for the site that the client seemed to want, but the server changed to another one
/// after all (SSL_CTX_set_cert_cb and the like come later than SNI; a client may ask for another site after a
/// HelloRetryRequest). That one would not have had it: it asks for certificates, or it asks for none, and the
/// session has one. There is no way back to a full handshake from here.
bool welcome(SSL* ssl, Connection& connection) {
    const auto& calls = openssl();
    if (!connection.ours || calls.SSL_session_reused(ssl) != 1) return true;
    const Site site = site_at_handshake(ssl, connection);
    if (connection.mark == site.certified) return true;
    return site.asks ? connection.mark == site.plain && !site.demands
                     : calls.SSL_SESSION_get0_peer(calls.SSL_get_session(ssl)) == nullptr;
}

void free_connection(void* parent, void* data, CRYPTO_EX_DATA*, int, long, void*) {
    auto* connection = static_cast<Connection*>(data);
    if (connection == nullptr) return;
    auto* ssl = static_cast<SSL*>(parent);
    // With early data the last step of a handshake hides in a read. (SSL_in_init() would not do: with early
    // data OpenSSL is out of "init" before a HelloRetryRequest is answered.)
    const OwnErrors quiet;
    if (ssl != nullptr && !connection->done && openssl().SSL_is_init_finished(ssl) != 0)
        finish(ssl, *connection);
    if (ssl != nullptr) settle(ssl, *connection);
    delete connection;
}

/// SSL_dup: the copy starts without hooks of its own.
int duplicate_connection(CRYPTO_EX_DATA*, const CRYPTO_EX_DATA*, void** data, int, long, void*) {
    *data = nullptr;
    return 1;
}

void make_index() {
    ex_index = openssl().CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, nullptr, nullptr,
                                                 duplicate_connection, free_connection);
}

bool ready() {
    if (!openssl().complete) return false;
    pthread_once(&once, make_index);
    return ex_index >= 0;
}

/// An end of the connection; nullopt: it is no TCP socket.
std::optional<ServiceEndpoint> endpoint_of(int fd, decltype(&getsockname) which) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (fd < 0 || which(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return std::nullopt;
    ServiceEndpoint place;
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        place.address[10] = place.address[11] = 0xff;
        std::memcpy(&place.address[12], &v4.sin_addr, sizeof v4.sin_addr);
        place.port = ntohs(v4.sin_port);
    } else if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        std::memcpy(place.address.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
        place.port = ntohs(v6.sin6_port);
    } else {
        return std::nullopt;
    }
    return place;
}

}  // namespace

Connection* connection_of(const SSL* ssl) {
    return ready() ? static_cast<Connection*>(openssl().SSL_get_ex_data(ssl, ex_index)) : nullptr;
}

/// One that was retired and has no successor (yet) refuses everything, which is a miss.
Store& store_of(const Connection& connection) {
    Store* const now = current_store();
    return now != nullptr ? *now : *connection.first_store;
}

void settle(SSL* ssl, Connection& connection) {
    const auto& calls = openssl();
    release_keeper(connection);
    if (connection.taken == nullptr) return;
    if (calls.SSL_session_reused(ssl) != 1) {
        SessionRecord record;
        static_cast<SessionInfo&>(record) = connection.taken_info;
        if (write_der(connection.taken, record)) store_of(connection).put(record, connection.purges);
    }
    calls.SSL_SESSION_free(connection.taken);
    connection.taken = nullptr;
}

void start_again(SSL* ssl) {
    Connection* connection = connection_of(ssl);
    if (connection == nullptr || connection->in_step) return;  // OpenSSL's own, as a handshake begins
    const OwnErrors quiet;
    settle(ssl, *connection);
    *connection = Connection{connection->context, connection->first_store};
}

namespace {
/// A connection that is used again (SSL_clear), without a store now.
void forget(SSL* ssl) {
    Connection* known = connection_of(ssl);
    if (known == nullptr) return;
    settle(ssl, *known);
    openssl().SSL_set_ex_data(ssl, ex_index, nullptr);
    delete known;
}
}  // namespace

void become_server(SSL* ssl) {
    const auto& calls = openssl();
    ContextHooks* context = hooks_of(calls.SSL_get_SSL_CTX(ssl));
    if (context == nullptr || context->client_only() || !ready()) return;
    Store* const store = current_store();
    if (store == nullptr) return forget(ssl);
    use_store(calls.SSL_get_SSL_CTX(ssl), *context);
    // On the connection, not on the SSL_CTX: servers use the same kind of SSL_CTX for connections that they
    // make.
    calls.SSL_set_options(ssl, kServerOptions);
    if (Connection* known = connection_of(ssl)) {  // used again after SSL_clear
        settle(ssl, *known);
        *known = Connection{context, store};
        return;
    }
    auto* connection = new (std::nothrow) Connection{context, store};
    if (connection != nullptr && calls.SSL_set_ex_data(ssl, ex_index, connection) != 1) delete connection;
}

uint64_t kept_options(const SSL* ssl) { return connection_of(ssl) != nullptr ? kServerOptions : 0; }

namespace {

/// A check of keyraild leaves next to nothing behind: one ticket of a full handshake, which is good until the
/// next one or two.
void recognise_check(SSL* ssl, int socket, Connection& connection) {
    const auto client = endpoint_of(socket, getpeername);
    if (!client) return;
    store_of(connection).control().read([&](const StoreControl& control) {
        connection.is_check = control.is_checker(client->address);
    });
    if (!connection.is_check) return;
    connection.policy.lifetime_s = std::min(connection.policy.lifetime_s, StoreControl::kCheckLifetimeS);
    openssl().SSL_set_num_tickets(ssl, 1);
}

/// Service and policy, by the address that the client connected to. A socket that only we saw, at an address
/// that is none of the services' (behind another listener of the same server, say), tells nothing: slot 0.
void find_place(SSL* ssl, Connection& connection) {
    const int shown = openssl().SSL_get_fd(ssl);
    const int socket = shown >= 0 ? shown : connection.socket;
    auto place = endpoint_of(socket, getsockname);
    connection.place_known = shown >= 0 || place;
    bool checked = false;
    store_of(connection).control().read([&](const StoreControl& control) {
        connection.slot = place ? control.slot_of(*place) : 0;
        connection.policy = control.services[connection.slot];
        checked = control.checker_count != 0;
    });
    if (checked && place) recognise_check(ssl, socket, connection);
    if (shown < 0) connection.socket = -1;
    if (shown < 0 && connection.slot == 0) place.reset();
    connection.port = place ? place->port : 0;
    connection.service_seen = place && connection.slot != 0;
    if (place && connection.slot == 0) {  // seen, and none of the services: the strictest policy, but no name
        connection.slot = Connection::kNoSlot;
        connection.policy.service = {};
    }
    if (connection.policy.has_id_context)
        openssl().SSL_set_session_id_context(ssl, connection.policy.id_context.data(),
                                             static_cast<unsigned int>(connection.policy.id_context.size()));
}

}  // namespace

void begin(SSL* ssl, Connection& connection) {
    if (connection.begun && (connection.place_known || connection.socket < 0)) return;
    find_place(ssl, connection);
    if (std::exchange(connection.begun, true)) return;
    // A session that stays opens recordings of none of its connections: each has its own key exchange
    // (psk_dhe_ke).
    openssl().SSL_clear_options(ssl, SSL_OP_ALLOW_NO_DHE_KEX);
    connection.measured = worth_measuring(store_of(connection));
    if (connection.measured) connection.began_ns = now_ns(CLOCK_MONOTONIC);
}

Site site_at_handshake(SSL* ssl, Connection& connection) {
    if (!connection.done || connection.verify_mode < 0)
        connection.verify_mode = openssl().SSL_get_verify_mode(ssl);
    return site_of(ssl, connection, connection.verify_mode);
}

Lineage lineage_from(SSL* ssl, const Connection& connection) {
    Lineage lineage;
    if (openssl().SSL_session_reused(ssl) == 1) {
        lineage = connection.lineage;
        lineage.uses++;
    }
    lineage.digest = chained(lineage.digest, ssl);
    return lineage;
}

namespace {

/// The connection of a step that there is something to do for.
Connection* in_handshake(const SSL* ssl) {
    Connection* const connection = connection_of(ssl);
    const bool over =
        connection != nullptr && ((connection->done && !connection->unwelcome) || connection->in_step);
    return over ? nullptr : connection;
}

/// Where its socket is to be noted: see SocketWatch.
int* unknown_socket(SSL* ssl, Connection* connection) {
    if (connection == nullptr) return nullptr;
    begin(ssl, *connection);
    return connection->place_known ? nullptr : &connection->socket;
}

}  // namespace

HandshakeStep::HandshakeStep(SSL* ssl)
    : ssl_(ssl), connection_(in_handshake(ssl)), watch_(unknown_socket(ssl, connection_)) {
    if (connection_ == nullptr) return;
    connection_->in_step = true;
    if (connection_->measured) cpu_began_ns_ = now_ns(CLOCK_THREAD_CPUTIME_ID);
}

int HandshakeStep::end(int result, int failure) {
    if (connection_ == nullptr) return result;
    const int error = errno;  // is the caller's
    connection_->in_step = false;
    if (connection_->measured) connection_->cpu_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_began_ns_;
    {
        const OwnErrors quiet;
        if (!welcome(ssl_, *connection_)) connection_->unwelcome = true;
        if (!connection_->done && openssl().SSL_is_init_finished(ssl_) != 0) {
            finish(ssl_, *connection_);
            if (connection_->measured && !connection_->is_check) add_cost(ssl_, *connection_);
        } else if (result <= 0 && openssl().SSL_want(ssl_) == SSL_NOTHING) {
            settle(ssl_, *connection_);  // it failed, for good
        }
    }
    if (connection_->unwelcome) {
        openssl().ERR_new();
        openssl().ERR_set_error(ERR_LIB_SSL, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, nullptr);
        result = failure;
    }
    errno = error;
    return result;
}

void renew_ticket(SSL* ssl) {
    const auto& calls = openssl();
    Connection* connection = connection_of(ssl);
    if (connection == nullptr || connection->ticket_renewed || calls.SSL_is_init_finished(ssl) == 0) return;
    const OwnErrors quiet;
    bool wanted = false;
    store_of(*connection).control().read([&](const StoreControl& control) {
        wanted = control.renew_tickets;
    });
    if (!wanted || calls.SSL_version(ssl) != TLS1_3_VERSION) return;
    connection->ticket_renewed = true;
    calls.SSL_new_session_ticket(ssl);
}

}  // namespace keyrail::hooks
