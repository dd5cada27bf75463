// SPDX-License-Identifier: Apache-2.0
// TlsContext: an SSL_CTX that speaks TLS 1.3 only, demands a certificate of the chassis CA and keeps no
// sessions.
#include "control/protocol/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "control/protocol/openssl_ptr.h"

namespace keyrail {

namespace {

using StorePtr = std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)>;

Result<void> check_readable(const std::filesystem::path& file, bool secret) {
    struct stat status{};
    if (stat(file.c_str(), &status) != 0)
        return fail("{}: {}; make it with 'keyrail chassis init' or 'keyrail blade certify'", file.string(),
                    std::strerror(errno));
    if (!S_ISREG(status.st_mode)) return fail("{}: not a regular file", file.string());
    if (secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail("{}: a private key that others may read (mode {:04o}); run: chmod 600 {}", file.string(),
                    status.st_mode & 07777u, file.string());
    return {};
}

Result<void> load_files(SSL_CTX* context, const TlsFiles& files) {
    for (const auto& [file, secret] :
         {std::pair{&files.ca, false}, {&files.certificate, false}, {&files.key, true}})
        if (auto readable = check_readable(*file, secret); !readable) return readable;
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(context, files.ca.c_str()) != 1)
        return fail("{}: no CA certificate in PEM form in it ({})", files.ca.string(), openssl_reason());
    if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1)
        return fail("{}: no certificate in PEM form in it ({})", files.certificate.string(),
                    openssl_reason());
    if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
        return fail("{}: not the private key of {} ({})", files.key.string(), files.certificate.string(),
                    openssl_reason());
    return {};
}

/// Our own certificate, looked at as a peer will: better a clear word now than an alert later.
Result<void> check_own(SSL_CTX* context, const TlsFiles& files) {
    const StorePtr store(X509_STORE_CTX_new(), &X509_STORE_CTX_free);
    if (!store || X509_STORE_CTX_init(store.get(), SSL_CTX_get_cert_store(context),
                                      SSL_CTX_get0_certificate(context), nullptr) != 1)
        return fail("{}: cannot be checked ({})", files.certificate.string(), openssl_reason());
    if (X509_verify_cert(store.get()) == 1) return {};
    const int why = X509_STORE_CTX_get_error(store.get());
    return fail(
        "{}: {} (checked against {}); make it anew with 'keyrail chassis certify', 'keyrail blade certify' "
        "or "
        "'keyrail-agent join'",
        files.certificate.string(), X509_verify_cert_error_string(why), files.ca.string());
}

/// The peer's chain must lead to the one CA that we were told of; it sends that CA with its chain.
int verify_pinned(X509_STORE_CTX* check, void* pin) {
    STACK_OF(X509)* shown = X509_STORE_CTX_get0_untrusted(check);
    for (int i = 0; i < sk_X509_num(shown); i++) {
        X509* certificate = sk_X509_value(shown, i);
        if (fingerprint_of(certificate) != *static_cast<const Fingerprint*>(pin)) continue;
        STACK_OF(X509)* trusted = sk_X509_new_null();
        sk_X509_push(trusted, certificate);
        X509_STORE_CTX_set0_trusted_stack(check, trusted);
        const int result = X509_verify_cert(check);
        sk_X509_free(trusted);
        return result;
    }
    X509_STORE_CTX_set_error(check, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
    std::tm parts{};
    ASN1_TIME_to_tm(time, &parts);
    return std::chrono::system_clock::from_time_t(timegm(&parts));
}

/// The protocol versions that we speak, the best one first, as ALPN names (RFC 7301): one both sides know is
/// chosen in the handshake, before any message.
constexpr std::string_view kVersions = "\x09keyrail/1";

int choose_version(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                   unsigned offered_size, void*) {
    unsigned char* found = nullptr;
    const int result =
        SSL_select_next_proto(&found, size, reinterpret_cast<const unsigned char*>(kVersions.data()),
                              static_cast<unsigned>(kVersions.size()), offered, offered_size);
    *chosen = found;
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void restrict(SSL_CTX* context) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(kVersions.data()),
                            static_cast<unsigned>(kVersions.size()));
    SSL_CTX_set_alpn_select_cb(context, choose_version, nullptr);
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_verify_depth(context, 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    // Session keys pass through these connections: plaintext does not stay in OpenSSL's buffers.
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_COMPRESSION);
}

}  // namespace

std::string openssl_reason() {
    std::string text = "no reason given";
    while (const unsigned long code = ERR_get_error())
        if (const char* reason = ERR_reason_error_string(code)) text = reason;
    return text;
}

Result<Identity> identity_of(const X509* certificate) {
    const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        &GENERAL_NAMES_free);
    std::string uri;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); i++) {
        int type = 0;
        const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
        if (type != GEN_URI) continue;
        const auto* text = static_cast<const ASN1_STRING*>(value);
        if (!uri.empty()) return fail("its certificate names several identities");
        uri.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                   static_cast<size_t>(ASN1_STRING_length(text)));
    }
    if (uri.empty()) return fail("its certificate names no identity (no SAN URI)");
    return Identity::from_uri(uri);
}

CertificateInfo info_of(const X509* certificate) {
    const BignumPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
    char* const digits = number ? BN_bn2hex(number.get()) : nullptr;
    CertificateInfo info{digits ? digits : "", time_of(X509_get0_notBefore(certificate)),
                         time_of(X509_get0_notAfter(certificate))};
    OPENSSL_free(digits);
    uint8_t* der = nullptr;
    if (const int size = i2d_X509(certificate, &der); size > 0)
        info.der.assign(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
    OPENSSL_free(der);
    return info;
}

Fingerprint fingerprint_of(const X509* certificate) {
    Fingerprint print{};
    unsigned size = 0;
    X509_digest(certificate, EVP_sha256(), print.data(), &size);
    return print;
}

Result<TlsContext> TlsContext::pinned(const Fingerprint& ca) {
    const auto state = std::make_shared<State>();
    state->context.reset(SSL_CTX_new(TLS_method()), &SSL_CTX_free);
    if (!state->context) return fail("no TLS: {}", openssl_reason());
    state->self = Identity::stranger();
    state->pin = ca;
    restrict(state->context.get());
    SSL_CTX_set_cert_verify_callback(state->context.get(), verify_pinned, &state->pin);
    return TlsContext(state);
}

std::optional<std::chrono::system_clock::time_point> TlsContext::ca_until() const {
    STACK_OF(X509)* const trusted = X509_STORE_get1_all_certs(SSL_CTX_get_cert_store(native()));
    const X509* const ca = sk_X509_num(trusted) > 0 ? sk_X509_value(trusted, 0) : nullptr;
    std::optional<std::chrono::system_clock::time_point> until;
    if (ca != nullptr) until = time_of(X509_get0_notAfter(ca));
    sk_X509_pop_free(trusted, X509_free);
    return until;
}

Result<TlsContext> TlsContext::prepare(const TlsFiles& files) const {
    auto next = load(files);
    if (next && next->self() != self())
        return fail("{}: is the certificate of {}, no longer of {}", files.certificate.string(),
                    next->self().text(), self().text());
    return next;
}

Result<void> TlsContext::reload(const TlsFiles& files) {
    auto next = prepare(files);
    if (!next) return tl::make_unexpected(next.error());
    use(std::move(*next));
    return {};
}

Result<TlsContext> TlsContext::load(const TlsFiles& files) {
    const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_method()), &SSL_CTX_free);
    if (!context) return fail("no TLS: {}", openssl_reason());
    restrict(context.get());
    if (auto loaded = load_files(context.get(), files); !loaded) return tl::make_unexpected(loaded.error());
    if (auto good = check_own(context.get(), files); !good) return tl::make_unexpected(good.error());
    const X509* own = SSL_CTX_get0_certificate(context.get());
    const auto self = identity_of(own);
    if (!self) return fail("{}: {}", files.certificate.string(), self.error().message);
    return TlsContext(std::make_shared<State>(State{context, *self, info_of(own)}));
}

}  // namespace keyrail
