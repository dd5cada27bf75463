// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/operator_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <fmt/format.h>

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kUri = "keyrail:operator:";
constexpr std::string_view kHttp = "\x08http/1.1";
constexpr size_t kMostName = 64;

int choose_http(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                unsigned offered_size, void*) {
    unsigned char* found = nullptr;
    const int result =
        SSL_select_next_proto(&found, size, reinterpret_cast<const unsigned char*>(kHttp.data()),
                              static_cast<unsigned>(kHttp.size()), offered, offered_size);
    *chosen = found;
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::string_view text_of(const ASN1_STRING* text) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<size_t>(ASN1_STRING_length(text))};
}

/// The subject's common name: what the log and the history call its owner.
std::string name_of(const X509* certificate) {
    const X509_NAME* const subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return "an operator without a name";
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    std::string name(reinterpret_cast<const char*>(utf8), size > 0 ? static_cast<size_t>(size) : 0);
    OPENSSL_free(utf8);
    for (char& byte : name)
        if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) byte = '?';
    return name.substr(0, kMostName);
}

}  // namespace

Role operator_role(const X509* certificate) {
    const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        &GENERAL_NAMES_free);
    std::string said;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); i++) {
        int type = 0;
        const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
        if (type != GEN_URI) continue;
        const std::string_view uri = text_of(static_cast<const ASN1_STRING*>(value));
        if (!uri.starts_with(kUri)) continue;
        if (!said.empty()) return Role::none;
        said = uri.substr(kUri.size());
    }
    if (said == "admin") return Role::admin;
    return said == "read" ? Role::read : Role::none;
}

Result<std::shared_ptr<SSL_CTX>> OperatorTls::load(const TlsFiles& files) {
    struct stat key{};
    if (::stat(files.key.c_str(), &key) == 0 && (key.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail("{}: a private key that others may read; run: chmod 600 {}", files.key.string(),
                    files.key.string());
    const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
    if (!context) return fail("no TLS: {}", openssl_reason());
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(context.get(), files.ca.c_str()) != 1)
        return fail("{}: no CA certificate in PEM form in it ({})", files.ca.string(), openssl_reason());
    if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1)
        return fail("{}: no certificate in PEM form in it ({})", files.certificate.string(),
                    openssl_reason());
    if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1)
        return fail("{}: not the private key of {} ({})", files.key.string(), files.certificate.string(),
                    openssl_reason());
    STACK_OF(X509_NAME)* const asked_for = SSL_load_client_CA_file(files.ca.c_str());
    SSL_CTX_set_client_CA_list(context.get(), asked_for);  // so that a browser offers the right one
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_CLIENT);
    SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
    SSL_CTX_set_alpn_select_cb(context.get(), choose_http, nullptr);
    // Each connection shows its certificate anew: one that has expired comes in no more.
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context.get(), 0);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    return context;
}

OperatorTls::Stamp OperatorTls::stamp() const {
    Stamp stamp;
    size_t at = 0;
    std::error_code ignored;
    for (const fs::path* file : {&files_.ca, &files_.certificate, &files_.key})
        stamp[at++] = {fs::last_write_time(*file, ignored), fs::file_size(*file, ignored)};
    return stamp;
}

Result<std::unique_ptr<OperatorTls>> OperatorTls::open(TlsFiles files) {
    std::unique_ptr<OperatorTls> tls(new OperatorTls(std::move(files)));
    tls->seen_ = tls->stamp();
    auto context = load(tls->files_);
    if (!context) return tl::make_unexpected(context.error());
    tls->context_ = std::move(*context);
    return tls;
}

std::shared_ptr<SSL_CTX> OperatorTls::current() {
    const Stamp now = stamp();
    if (now == seen_) return context_;
    seen_ = now;
    if (auto context = load(files_))
        context_ = std::move(*context);
    else
        spdlog::error("https: {}; the certificates of before go on", context.error().message);
    return context_;
}

Actor OperatorTls::actor_of(const SSL* session) {
    Actor actor{"somebody without an operator's certificate", Actor::kNoUser, Role::none};
    const X509* const certificate = SSL_get0_peer_certificate(session);
    if (!certificate || SSL_get_verify_result(session) != X509_V_OK) return actor;
    actor.name = fmt::format("{} (certificate)", name_of(certificate));
    actor.role = operator_role(certificate);
    return actor;
}

}  // namespace keyrail
