// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/site.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <cstring>
#include <span>

#include "control/hooks/connection.h"
#include "control/hooks/digest.h"

namespace keyrail::hooks {

namespace {

using Hash = SiteCache::Hash;

class Locked {
  public:
    explicit Locked(pthread_mutex_t& lock) : lock_(lock) { pthread_mutex_lock(&lock_); }
    ~Locked() { pthread_mutex_unlock(&lock_); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

  private:
    pthread_mutex_t& lock_;
};

/// Of one thing in a store; zeros where it is neither a certificate nor a list.
Hash hash_of(const X509_OBJECT* object) {
    const auto& calls = openssl();
    Hash hash{};
    const X509* certificate = calls.X509_OBJECT_get0_X509(object);
    const X509_CRL* list =
        certificate == nullptr ? calls.X509_OBJECT_get0_X509_CRL(const_cast<X509_OBJECT*>(object)) : nullptr;
    if (certificate != nullptr)
        calls.X509_digest(certificate, sha256(), hash.data(), nullptr);
    else if (list != nullptr)
        calls.X509_CRL_digest(list, sha256(), hash.data(), nullptr);
    return hash;
}

/// The sum of all their hashes as one long number, so that their order does not matter.
Hash sum_of(const OPENSSL_STACK* objects) {
    const auto& calls = openssl();
    Hash sum{};
    for (int i = calls.OPENSSL_sk_num(objects); i-- > 0;) {
        const Hash one = hash_of(static_cast<const X509_OBJECT*>(calls.OPENSSL_sk_value(objects, i)));
        unsigned carry = 0;
        for (size_t byte = 0; byte < sum.size(); byte++) {
            carry += unsigned{sum[byte]} + one[byte];
            sum[byte] = static_cast<uint8_t>(carry);
            carry >>= 8;
        }
    }
    return sum;
}

/// The authorities whose certificates this connection accepts.
X509_STORE* trusted_by(SSL* ssl) {
    const auto& calls = openssl();
    X509_STORE* store = nullptr;
    calls.SSL_ctrl(ssl, SSL_CTRL_GET_VERIFY_CERT_STORE, 0, &store);
    return store != nullptr ? store : calls.SSL_CTX_get_cert_store(calls.SSL_get_SSL_CTX(ssl));
}

/// Whose certificates are accepted, and how they are checked.
Hash trust_of(SSL* ssl, SiteCache& cache) {
    const auto& calls = openssl();
    X509_STORE* store = trusted_by(ssl);
    if (store == nullptr) return {};
    return cache.trust(store, {calls.X509_VERIFY_PARAM_get_flags(calls.SSL_get0_param(ssl)),
                               calls.X509_VERIFY_PARAM_get_flags(calls.X509_STORE_get0_param(store)),
                               calls.SSL_get_verify_depth(ssl)});
}

// A mark: what it is of | where (15 bytes) | whose certificates are accepted (16 bytes; zeros: there is
// none).
enum What : uint8_t { kService = 0x10, kGroup = 0x20, kCertificate = 0x30, kCertified = 0x80 };
constexpr size_t kWhere = 1, kWhereSize = 15, kTrust = 16, kTrustSize = 16;

void set_where(SSL* ssl, const Connection& connection, SiteCache& cache, SiteMark& mark) {
    const auto& calls = openssl();
    const SessionPolicy& policy = connection.policy;
    if (policy.has_id_context) {
        mark[0] = kGroup;
        std::memcpy(&mark[kWhere], policy.id_context.data(), kWhereSize);
    } else if (connection.service_seen) {
        mark[0] = kService;
        std::memcpy(&mark[kWhere], &policy.service, sizeof policy.service);
    } else {
        mark[0] = kCertificate;
        const Hash hash = cache.certificate(calls.SSL_CTX_get0_certificate(calls.SSL_get_SSL_CTX(ssl)));
        std::memcpy(&mark[kWhere], hash.data(), kWhereSize);
    }
}

}  // namespace

SiteCache::~SiteCache() {
    openssl().X509_free(certificate_);
    openssl().X509_STORE_free(store_);
}

Hash SiteCache::certificate(X509* certificate) {
    const auto& calls = openssl();
    const Locked locked(lock_);
    if (certificate != nullptr && certificate != certificate_ && calls.X509_up_ref(certificate) == 1) {
        calls.X509_free(certificate_);
        certificate_ = certificate;
        certificate_hash_ = {};
        calls.X509_digest(certificate, sha256(), certificate_hash_.data(), nullptr);
    }
    return certificate != nullptr ? certificate_hash_ : Hash{};
}

Hash SiteCache::trust(X509_STORE* store, const TrustRules& rules) {
    const auto& calls = openssl();
    const Locked locked(lock_);
    calls.X509_STORE_lock(store);  // what a folder of authorities has is read when it is needed
    const auto* objects = reinterpret_cast<const OPENSSL_STACK*>(calls.X509_STORE_get0_objects(store));
    const int count = calls.OPENSSL_sk_num(objects);
    if (store != store_ || count != objects_ || rules != rules_) {
        struct {
            Hash authorities;
            TrustRules rules;
        } input{sum_of(objects), rules};
        trust_hash_ = sha256_of({reinterpret_cast<const uint8_t*>(&input), sizeof input});
        objects_ = count;
        rules_ = rules;
        if (store != store_) {
            calls.X509_STORE_free(store_);
            store_ = calls.X509_STORE_up_ref(store) == 1 ? store : nullptr;
        }
    }
    calls.X509_STORE_unlock(store);
    return trust_hash_;
}

Site site_of(SSL* ssl, const Connection& connection, int verify_mode) {
    ContextHooks* context = hooks_of(openssl().SSL_get_SSL_CTX(ssl));
    SiteCache once;  // for an SSL_CTX that is not ours
    SiteCache& cache = context != nullptr ? context->site : once;
    Site site;
    site.asks = (verify_mode & SSL_VERIFY_PEER) != 0;
    site.demands = site.asks && (verify_mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) != 0;
    set_where(ssl, connection, cache, site.plain);
    site.plain[0] |= static_cast<uint8_t>((site.asks ? 1 : 0) | (site.demands ? 2 : 0));
    site.certified = site.plain;
    site.certified[0] |= kCertified;
    const Hash trust = trust_of(ssl, cache);
    std::memcpy(&site.certified[kTrust], trust.data(), kTrustSize);
    return site;
}

Standing standing_of(const SSL* ssl, const SSL_SESSION* session) {
    const auto& calls = openssl();
    if (calls.SSL_get_verify_result(ssl) != X509_V_OK) return Standing::kUnfit;
    return calls.SSL_SESSION_get0_peer(const_cast<SSL_SESSION*>(session)) != nullptr ? Standing::kCertified
                                                                                     : Standing::kPlain;
}

bool still_valid(const SSL_SESSION* session) {
    const auto& calls = openssl();
    const X509* peer = calls.SSL_SESSION_get0_peer(const_cast<SSL_SESSION*>(session));
    return peer == nullptr || calls.X509_cmp_time(calls.X509_get0_notAfter(peer), nullptr) > 0;
}

}  // namespace keyrail::hooks
