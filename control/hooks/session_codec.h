// SPDX-License-Identifier: Apache-2.0
// OpenSSL's session <-> the store's record.
#pragma once

#include <openssl/ssl.h>

#include "control/store/store.h"

namespace keyrail::hooks {

/// Where a session comes from: a full handshake, or resumptions of an earlier one.
struct Lineage {
    uint64_t authenticated_ms = 0;  // 0: a full handshake, now
    uint32_t uses = 0;
    SessionDigest digest{};
};

/// False: the session has no name of ours, is too large, or has no time left under the policy's lifetime
/// (which counts from the full handshake: TLS 1.3 renews a session at each resumption, RFC 8446
/// section 4.6.1, so that without a cap it could go on for ever). TLS 1.2 sessions are reusable whatever the
/// policy wants: their name never changes.
bool encode(SSL_SESSION* session, const Lineage& lineage, const SessionPolicy& policy, const SiteMark& site,
            uint64_t now_ms, SessionRecord& record);

/// Serialises the session into the record. False: it is too large.
bool write_der(SSL_SESSION* session, SessionRecord& record);

/// The session of a record, or nullptr when it is damaged. The caller owns it. It is dated by the record,
/// whose times are this blade's whatever blade made it, and never later than now: OpenSSL would take it for
/// one with a negative age.
SSL_SESSION* decode(const SessionRecord& record, uint64_t now_ms);

/// May this server go on with the session's cipher suite? OpenSSL does not ask on resumption of TLS <= 1.2.
bool cipher_allowed(const SSL* ssl, const SSL_SESSION* session);

}  // namespace keyrail::hooks
