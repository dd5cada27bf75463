// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/sessions.h"

#include <pthread.h>

#include <cstring>
#include <optional>
#include <utility>

#include "control/hooks/connection.h"
#include "control/hooks/current_store.h"
#include "control/hooks/errors.h"
#include "control/hooks/openssl_calls.h"
#include "control/hooks/pull.h"
#include "control/hooks/server_name.h"
#include "control/hooks/session_codec.h"
#include "control/hooks/session_names.h"

namespace keyrail::hooks {

namespace {

int proof_index = -1;
pthread_once_t once = PTHREAD_ONCE_INIT;

void make_proof_index() {
    proof_index =
        openssl().CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_SESSION, 0, nullptr, nullptr, nullptr, nullptr);
}

bool proof_known() {
    pthread_once(&once, make_proof_index);
    return proof_index >= 0;
}

ContextHooks* context_of(const SSL* ssl) {
    const Connection* connection = connection_of(ssl);
    return connection != nullptr ? connection->context : hooks_of(openssl().SSL_get_SSL_CTX(ssl));
}

enum class Kept { kYes, kTooLarge, kNever };

/// Into the store, if it is to be had again at all.
Kept store_session(SSL* ssl, SSL_SESSION* session, Connection& connection) {
    const OwnErrors quiet;
    begin(ssl, connection);
    const Site site = site_at_handshake(ssl, connection);
    const Standing standing = standing_of(ssl, session);
    if (standing == Standing::kUnfit || (standing == Standing::kPlain && site.demands)) return Kept::kNever;
    SessionRecord record;
    if (!encode(session, lineage_from(ssl, connection), connection.policy,
                standing == Standing::kCertified ? site.certified : site.plain, wall_clock_ms(), record))
        return Kept::kTooLarge;
    record.port = connection.port;
    // What a session became in a handshake is no newer than it was.
    const bool renewed = connection.ours && openssl().SSL_session_reused(ssl) == 1;
    switch (store_of(connection).put(record, renewed ? std::optional(connection.purges) : std::nullopt)) {
        case Store::Put::kStored:
            return Kept::kYes;
        case Store::Put::kPurged:
            return Kept::kNever;
        default:
            return Kept::kTooLarge;
    }
}

/// OpenSSL asks this when nothing else speaks against early data. A session that was taken out of the store
/// has had its only use; of any other one it is noted where the session is, and goes along wherever that
/// goes.
int allow_early_data(SSL* ssl, void*) {
    const Connection* connection = connection_of(ssl);
    if (connection == nullptr) return 0;
    return !connection->stays || store_of(*connection).spend_early_data(connection->name) ? 1 : 0;
}

/// Early data may be accepted with this session: no earlier life of it is unaccounted for. If not, the
/// handshake goes on without.
void decide_early_data(SSL* ssl, Connection& connection, const SessionRecord& record) {
    const auto& calls = openssl();
    calls.SSL_set_allow_early_data_cb(ssl, allow_early_data, nullptr);
    if (connection.policy.early_data && connection.policy.tickets != Tickets::kReusable &&
        !record.early_data_spent)
        return;
    connection.withheld_early_data = calls.SSL_get_max_early_data(ssl);
    calls.SSL_set_max_early_data(ssl, 0);
}

/// Its service may have come to want less since the record was made.
bool outlived(const SessionRecord& record, const SessionPolicy& policy, uint64_t now_ms) {
    return record.authenticated_ms + uint64_t{policy.lifetime_s} * 1000 <= now_ms;
}

/// Whose sessions the connection may have. nullopt: nobody's.
std::optional<Resumer> resumer_for(SSL* ssl, Connection& connection) {
    if (!std::exchange(connection.site_known, true)) {
        const AskedSite asked(ssl, *connection.context);
        if (asked.known()) connection.site = site_at_handshake(ssl, connection);
    }
    if (!connection.site) return std::nullopt;
    const Site& site = *connection.site;
    return Resumer(static_cast<TlsVersion>(openssl().SSL_version(ssl)),
                   site.demands ? site.certified : site.plain, site.certified);
}

/// What OpenSSL does not ask, and what is not in the mark of its site.
bool fits(SSL* ssl, const SSL_SESSION* session, const Connection& connection) {
    if (!still_valid(session)) return false;
    const bool older = openssl().SSL_version(ssl) != TLS1_3_VERSION;
    if (older && !cipher_allowed(ssl, session)) return false;
    // RFC 6066 section 3 asks for it, and so does nginx where it verifies clients. A group of sites is the
    // operator's word that they are one.
    const bool by_name =
        (connection.site && connection.site->asks) || (older && !connection.policy.has_id_context);
    return !by_name || same_name(ssl, session);
}

SSL_SESSION* fetch(SSL* ssl, const SessionName& name, Connection& connection) {
    const auto& calls = openssl();
    Store& store = store_of(connection);
    const auto who = resumer_for(ssl, connection);
    if (!who) return nullptr;
    settle(ssl, connection);  // of a name before: OpenSSL did not like it
    const uint64_t now = wall_clock_ms();
    connection.purges = store.purges();
    SessionRecord record;
    if (!store.resume(name, *who, now, record)) {
        // One question for each connection, however many names its hello has.
        if (connection.pulled) return nullptr;
        const Pull answer = pull(store, name, who->tls_version, connection.slot);
        connection.pulled = answer != Pull::kNotAsked;
        if (answer != Pull::kLookAgain || !store.resume(name, *who, wall_clock_ms(), record)) return nullptr;
    }
    if (outlived(record, connection.policy, now)) {
        store.erase(name);
        return nullptr;
    }
    SSL_SESSION* session = decode(record, now);
    if (session == nullptr) {  // of an OpenSSL that this one does not understand, or damaged: so it stays
        store.erase(name);
        return nullptr;
    }
    if (!fits(ssl, session, connection)) {
        if (record.single_use && still_valid(session)) store.put(record, connection.purges);
        calls.SSL_SESSION_free(session);
        return nullptr;
    }
    set_unproven(session, true);
    decide_early_data(ssl, connection, record);
    connection.ours = true;
    connection.mark = record.site;
    connection.name = name;
    connection.lineage = {record.authenticated_ms, record.uses, record.digest};
    connection.stays = !record.single_use;
    if (connection.is_check && connection.stays) calls.SSL_set_num_tickets(ssl, 0);  // it has one
    if (record.single_use && calls.SSL_SESSION_up_ref(session) == 1) {
        connection.taken = session;
        connection.taken_info = record;
    }
    return session;
}

/// The session of this name, with a reference for OpenSSL. After a HelloRetryRequest it asks again for the
/// same name (RFC 8446 section 4.1.4), which is gone from the store then.
SSL_SESSION* session_for(SSL* ssl, const SessionName& name, Connection& connection) {
    begin(ssl, connection);
    if (connection.taken == nullptr || connection.name != name) return fetch(ssl, name, connection);
    return openssl().SSL_SESSION_up_ref(connection.taken) == 1 ? connection.taken : nullptr;
}

}  // namespace

thread_local int KeepSessions::depth_ = 0;

bool unproven(const SSL_SESSION* session) {
    return proof_known() && openssl().SSL_SESSION_get_ex_data(session, proof_index) != nullptr;
}

void set_unproven(SSL_SESSION* session, bool unproven) {
    static char mark;
    if (session != nullptr && proof_known())
        openssl().SSL_SESSION_set_ex_data(session, proof_index, unproven ? &mark : nullptr);
}

int on_new(SSL* ssl, SSL_SESSION* session) {
    const auto& calls = openssl();
    const ContextHooks* hooks = context_of(ssl);
    if (hooks == nullptr) return 0;
    Connection* connection = connection_of(ssl);
    // A session is in our store or in the application's cache, never in both: a copy there would still be
    // resumed after the session was used up or moved away. The application gets only what is too large for
    // us.
    if (connection != nullptr && store_session(ssl, session, *connection) != Kept::kTooLarge) return 0;
    const bool theirs =
        connection == nullptr || calls.SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION;
    return theirs && hooks->on_new != nullptr ? hooks->on_new(ssl, session) : 0;
}

SSL_SESSION* on_get(SSL* ssl, const unsigned char* id, int size, int* copy) {
    const ContextHooks* hooks = context_of(ssl);
    if (hooks == nullptr) return nullptr;
    Connection* connection = connection_of(ssl);
    if (connection != nullptr && size == static_cast<int>(kSessionNameSize)) {
        const OwnErrors quiet;
        SessionName name;
        std::memcpy(name.data(), id, name.size());
        if (SSL_SESSION* session = session_for(ssl, name, *connection)) {
            *copy = 0;  // the reference is OpenSSL's
            return session;
        }
    }
    const bool theirs = connection == nullptr || openssl().SSL_version(ssl) != TLS1_3_VERSION;
    if (hooks->on_get == nullptr || !theirs) return nullptr;
    return hooks->on_get(ssl, id, size, copy);
}

void on_remove(SSL_CTX* context, SSL_SESSION* session) {
    const ContextHooks* hooks = hooks_of(context);
    if (hooks == nullptr) return;
    unsigned int size = 0;
    const unsigned char* id = openssl().SSL_SESSION_get_id(session, &size);
    if (size == kSessionNameSize && !hooks->client_only() && !KeepSessions::active() && !unproven(session)) {
        const OwnErrors quiet;
        SessionName name;
        std::memcpy(name.data(), id, name.size());
        if (Store* store = current_store()) store->erase(name);
    }
    if (hooks->on_remove != nullptr) hooks->on_remove(context, session);
}

/// OpenSSL asks for a name just before it writes the ticket, and with it how much early data the ticket
/// allows.
int on_generate(SSL* ssl, unsigned char* id, unsigned int* size) {
    const auto& calls = openssl();
    const OwnErrors quiet;
    SessionName name;
    const Store* const store = current_store();
    if (*size < name.size() || !(store != nullptr ? make_session_name(*store, name) : make_random_name(name)))
        return 0;
    std::memcpy(id, name.data(), name.size());
    *size = static_cast<unsigned int>(name.size());
    Connection* connection = connection_of(ssl);
    if (connection == nullptr) return 1;
    begin(ssl, *connection);
    if (!connection->policy.early_data) {
        calls.SSL_set_max_early_data(ssl, 0);
    } else if (connection->withheld_early_data != 0) {
        calls.SSL_set_max_early_data(ssl, connection->withheld_early_data);
        connection->withheld_early_data = 0;
    }
    return 1;
}

}  // namespace keyrail::hooks
