// SPDX-License-Identifier: Apache-2.0
// Who may have a session: a site that would have let its client in itself. What a site demands of its clients
// is made into a mark, which every session carries from where it was made; it is given only to connections
// with the same one. So it does not matter whether the other site is in this process, in another one or on
// another blade, and nothing depends on the application's session id context (HAProxy has one for all its
// sites).
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>

#include <array>
#include <cstdint>

#include "control/hooks/openssl_calls.h"
#include "control/store/store.h"

namespace keyrail::hooks {

struct Connection;

/// How client certificates are checked.
struct TrustRules {
    uint64_t flags = 0, store_flags = 0;  // X509_V_FLAG_...
    int64_t depth = 0;
    bool operator==(const TrustRules&) const = default;
};

/// What is known of an SSL_CTX' certificate and of the authorities that it trusts, for as long as they stay
/// the same (hundreds of certificates are not hashed at each handshake). Shared by the threads of a server.
class SiteCache {
  public:
    using Hash = std::array<uint8_t, 32>;

    SiteCache() = default;
    SiteCache(const SiteCache&) = delete;
    SiteCache& operator=(const SiteCache&) = delete;
    ~SiteCache();

    /// Of the certificate; zeros: there is none.
    Hash certificate(X509* certificate);
    /// Of the authorities and lists of revoked certificates in the store, in any order, and of the rules.
    Hash trust(X509_STORE* store, const TrustRules& rules);

  private:
    pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
    X509* certificate_ = nullptr;  // a reference: nothing else can get its address meanwhile
    Hash certificate_hash_{};
    X509_STORE* store_ = nullptr;  // likewise
    int objects_ = 0;
    TrustRules rules_;
    Hash trust_hash_{};
};

/// The marks of a site: a session with a verified client certificate carries the second, any other one the
/// first.
struct Site {
    SiteMark plain{};
    SiteMark certified{};
    bool demands = false;  // no handshake succeeds without a certificate
    bool asks = false;     // for a certificate, whether it demands one or not
};

/// The site that the connection is at now, with `verify_mode` of SSL_set_verify(). What tells sites apart is
/// the service (or its group), where it is known, else the certificate; whether
/// certificates are asked for and demanded; and whose are accepted.
Site site_of(SSL* ssl, const Connection& connection, int verify_mode);

/// What a session is good for.
enum class Standing { kPlain, kCertified, kUnfit };

/// Of the session that this connection has. Unfit: the client has a certificate that did not verify, and was
/// let in all the same; whether it would be elsewhere, OpenSSL does not know.
Standing standing_of(const SSL* ssl, const SSL_SESSION* session);
/// Its client certificate, if it has one, is still valid.
bool still_valid(const SSL_SESSION* session);

}  // namespace keyrail::hooks
