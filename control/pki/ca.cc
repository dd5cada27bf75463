// SPDX-License-Identifier: Apache-2.0
// The chassis CA: keys, certificates and their files.
#include "control/pki/ca.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>

#include "control/protocol/file.h"
#include "control/protocol/openssl_ptr.h"
#include "control/protocol/tls_context.h"
#include "dataplane/common/address.h"

namespace keyrail::pki {

namespace fs = std::filesystem;

namespace {

struct Authority {
    CertificatePtr certificate;
    KeyPtr key;
};

/// What goes into one certificate.
struct Subject {
    std::string common_name;
    std::string uri;  // empty for the CA
    Validity validity;
    std::string names = {};  // of a server, as OpenSSL writes them: "DNS:a.example,IP:192.0.2.1"
    std::string usage = "serverAuth,clientAuth";
};

Result<void> add_extension(X509* certificate, const X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, const_cast<X509*>(issuer), certificate, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, FreedBy<X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1)
        return fail("cannot make the certificate: {}={}: {}", OBJ_nid2sn(nid), value, openssl_reason());
    return {};
}

Result<void> add_extensions(X509* certificate, const X509* issuer, const Subject& subject) {
    using Extensions = std::vector<std::pair<int, std::string>>;
    const bool is_ca = subject.uri.empty() && subject.names.empty();
    Extensions wanted = {{NID_subject_key_identifier, "hash"},
                         {NID_authority_key_identifier, "keyid:always"}};
    if (is_ca) {
        wanted.insert(wanted.end(), {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                     {NID_key_usage, "critical,keyCertSign,cRLSign"}});
    } else {
        wanted.insert(wanted.end(),
                      {{NID_basic_constraints, "critical,CA:FALSE"},
                       {NID_key_usage, "critical,digitalSignature"},
                       {NID_ext_key_usage, subject.usage},
                       {NID_subject_alt_name, subject.names.empty() ? "URI:" + subject.uri : subject.names}});
    }
    for (const auto& [nid, value] : wanted)
        if (auto added = add_extension(certificate, issuer, nid, value); !added) return added;
    return {};
}

bool set_serial(X509* certificate) {
    std::array<unsigned char, 16> serial{};
    if (RAND_bytes(serial.data(), serial.size()) != 1) return false;
    serial[0] &= 0x7f;  // positive, RFC 5280 section 4.1.2.2
    const BignumPtr number(BN_bin2bn(serial.data(), serial.size(), nullptr));
    return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

/// A certificate for `key`; `authority` signs it (nullptr: by itself).
Result<CertificatePtr> make_certificate(const Subject& subject, EVP_PKEY* key, const Authority* authority) {
    CertificatePtr made(X509_new());
    X509* certificate = made.get();
    if (!certificate) return fail("cannot make a certificate: {}", openssl_reason());
    const X509* issuer = authority ? authority->certificate.get() : certificate;
    X509_NAME* name = X509_get_subject_name(certificate);
    const auto* text = reinterpret_cast<const unsigned char*>(subject.common_name.c_str());
    const bool filled =
        X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
        ASN1_TIME_set(X509_getm_notBefore(certificate), Clock::to_time_t(subject.validity.from)) &&
        ASN1_TIME_set(X509_getm_notAfter(certificate), Clock::to_time_t(subject.validity.until)) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text, -1, -1, 0) == 1 &&
        X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
        X509_set_pubkey(certificate, key) == 1;
    if (!filled)
        return fail("cannot make the certificate of '{}': {}", subject.common_name, openssl_reason());
    if (auto added = add_extensions(certificate, issuer, subject); !added)
        return tl::make_unexpected(added.error());
    if (X509_sign(certificate, authority ? authority->key.get() : key, EVP_sha256()) == 0)
        return fail("cannot sign the certificate of '{}': {}", subject.common_name, openssl_reason());
    return made;
}

Result<KeyPtr> make_key() {
    KeyPtr key(EVP_EC_gen("P-256"));
    if (!key) return fail("cannot make a key: {}", openssl_reason());
    return key;
}

std::string pem_text(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<size_t>(size)};
}

template <auto ToDer, typename T>
std::string der_of(const T* object) {
    unsigned char* bytes = nullptr;
    const int size = ToDer(object, &bytes);
    std::string der(reinterpret_cast<const char*>(bytes), size > 0 ? static_cast<size_t>(size) : 0);
    OPENSSL_free(bytes);
    return der;
}

/// Who asks must have the key that it asks for, and a key as all of a chassis are.
Result<RequestPtr> read_request(std::string_view der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    const auto* const end = at + der.size();
    RequestPtr request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
    EVP_PKEY* const key = request && at == end ? X509_REQ_get0_pubkey(request.get()) : nullptr;
    std::array<char, 32> group{};
    const bool p256 = key && EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) == 1 &&
                      std::string_view(group.data()) == SN_X9_62_prime256v1;
    const bool good = p256 && X509_REQ_verify(request.get(), key) == 1;
    ERR_clear_error();
    if (!good) return fail("its certificate request is not one of a P-256 key, signed by that key");
    return request;
}

Result<void> write_certificate(const fs::path& file, X509* certificate) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1)
        return fail("{}: {}", file.string(), openssl_reason());
    return replace_file(file, pem_text(bio.get()), 0644);
}

Result<void> write_key(const fs::path& file, EVP_PKEY* key) {
    const BioPtr bio(BIO_new(BIO_s_secmem()));
    if (!bio || PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
        return fail("{}: {}", file.string(), openssl_reason());
    std::string text = pem_text(bio.get());
    auto written = replace_file(file, text, 0600);
    OPENSSL_cleanse(text.data(), text.size());
    return written;
}

Result<Authority> read_authority(const CaFiles& files) {
    const BioPtr certificate_file(BIO_new_file(files.certificate.c_str(), "r")),
        key_file(BIO_new_file(files.key.c_str(), "r"));
    if (!certificate_file || !key_file)
        return fail(
            "{}: the CA is not here; bring {} and {} here, or make them with 'keyrail chassis "
            "init --dir {}' (of operators: 'keyrail operator init')",
            files.key.parent_path().string(), files.certificate.filename().string(),
            files.key.filename().string(), files.key.parent_path().string());
    Authority authority{CertificatePtr(PEM_read_bio_X509(certificate_file.get(), nullptr, nullptr, nullptr)),
                        KeyPtr(PEM_read_bio_PrivateKey(key_file.get(), nullptr, nullptr, nullptr))};
    if (!authority.certificate || !authority.key)
        return fail("{} or {} is damaged ({})", files.certificate.string(), files.key.string(),
                    openssl_reason());
    if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1)
        return fail("{} is not the key of {}", files.key.string(), files.certificate.string());
    return authority;
}

/// Makes DIR/<stem>.pem and .key.
Result<Files> certify_by(const Authority& authority, const fs::path& dir, const std::string& stem,
                         const Subject& subject) {
    const auto key = make_key();
    if (!key) return tl::make_unexpected(key.error());
    const auto certificate = make_certificate(subject, key->get(), &authority);
    if (!certificate) return tl::make_unexpected(certificate.error());
    const fs::path certificate_path = dir / (stem + ".pem"), key_path = dir / (stem + ".key");
    if (auto written = write_key(key_path, key->get()); !written) return tl::make_unexpected(written.error());
    if (auto written = write_certificate(certificate_path, certificate->get()); !written)
        return tl::make_unexpected(written.error());
    return Files{certificate_path, key_path};
}

Result<Files> certify_by(const Authority& authority, const fs::path& dir, const Identity& who,
                         const Validity& validity) {
    const std::string stem = who.is_control() ? "control" : fmt::format("blade-{}", who.blade);
    return certify_by(authority, dir, stem, {who.text(), who.uri(), validity});
}

/// DIR/ca.pem and ca.key, which must not be there yet.
Result<Authority> make_authority(const fs::path& dir, const std::string& common_name,
                                 std::string_view locked_out) {
    if (auto made = make_directory(dir, 0700); !made) return tl::make_unexpected(made.error());
    for (const fs::path& file : {dir / "ca.pem", dir / "ca.key"})
        if (fs::exists(file))
            return fail(
                "{}: there already; a new CA would lock out every {}. Choose another directory, or move "
                "the old one away",
                file.string(), locked_out);
    auto key = make_key();
    if (!key) return tl::make_unexpected(key.error());
    auto certificate =
        make_certificate({common_name, "", Validity::from_now(kCaLifetime)}, key->get(), nullptr);
    if (!certificate) return tl::make_unexpected(certificate.error());
    Authority authority{std::move(*certificate), std::move(*key)};
    if (auto written = write_key(dir / "ca.key", authority.key.get()); !written)
        return tl::make_unexpected(written.error());
    if (auto written = write_certificate(dir / "ca.pem", authority.certificate.get()); !written)
        return tl::make_unexpected(written.error());
    return authority;
}

}  // namespace

Validity Validity::from_now(std::chrono::seconds lifetime) {
    const auto from = Clock::now() - std::chrono::hours(1);
    return {from, from + lifetime};
}

Result<Files> certify(const fs::path& dir, const Identity& who, const Validity& validity) {
    const auto authority = read_authority({dir / "ca.pem", dir / "ca.key"});
    if (!authority) return tl::make_unexpected(authority.error());
    return certify_by(*authority, dir, who, validity);
}

Result<Issued> certify_request(const CaFiles& ca, std::string_view request, const Identity& who,
                               const Validity& validity) {
    const auto asked = read_request(request);
    if (!asked) return tl::make_unexpected(asked.error());
    const auto authority = read_authority(ca);
    if (!authority) return tl::make_unexpected(authority.error());
    EVP_PKEY* const key = X509_REQ_get0_pubkey(asked->get());
    const auto made = make_certificate({who.text(), who.uri(), validity}, key, &*authority);
    if (!made) return tl::make_unexpected(made.error());
    return Issued{der_of<i2d_X509>(made->get()), der_of<i2d_X509>(authority->certificate.get()),
                  info_of(made->get())};
}

Result<std::string> make_request(const fs::path& file) {
    std::error_code error;
    KeyPtr key;
    if (fs::exists(file, error)) {
        const BioPtr bio(BIO_new_file(file.c_str(), "r"));
        if (bio) key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
        if (!key) return fail("{}: no private key in PEM form in it ({})", file.string(), openssl_reason());
    } else {
        auto made = make_key();
        if (!made) return tl::make_unexpected(made.error());
        key = std::move(*made);
        if (auto written = write_key(file, key.get()); !written) return tl::make_unexpected(written.error());
    }
    const RequestPtr request(X509_REQ_new());
    if (!request || X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
        X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0)
        return fail("cannot make a certificate request: {}", openssl_reason());
    return der_of<i2d_X509_REQ>(request.get());
}

Result<Fingerprint> write_certificate(const fs::path& file, std::string_view der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    const CertificatePtr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    if (!certificate) return fail("this is not a certificate: {}", openssl_reason());
    if (auto written = write_certificate(file, certificate.get()); !written)
        return tl::make_unexpected(written.error());
    return fingerprint_of(certificate.get());
}

Result<Fingerprint> fingerprint_of_file(const fs::path& file) {
    const BioPtr bio(BIO_new_file(file.c_str(), "r"));
    const CertificatePtr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
    if (!certificate)
        return fail("{}: no certificate in PEM form in it ({})", file.string(), openssl_reason());
    return fingerprint_of(certificate.get());
}

Result<Files> init_chassis(const fs::path& dir, const std::string& name) {
    const auto authority = make_authority(dir, fmt::format("Keyrail chassis {}", name), "blade");
    if (!authority) return tl::make_unexpected(authority.error());
    Files files = {dir / "ca.pem", dir / "ca.key"};
    const auto control =
        certify_by(*authority, dir, Identity::control(), Validity::from_now(kCertificateLifetime));
    if (!control) return tl::make_unexpected(control.error());
    files.insert(files.end(), control->begin(), control->end());
    return files;
}

Result<Files> init_operators(const fs::path& dir, const std::vector<std::string>& hosts) {
    std::string names;
    for (const std::string& host : hosts) {
        const bool plain = !host.empty() && host.find_first_of(", \t\n;:") == std::string::npos;
        const bool address = parse_ip(host).has_value();
        if (!plain && !address) return fail("'{}' is neither a name nor an address", host);
        names += fmt::format("{}{}:{}", names.empty() ? "" : ",", address ? "IP" : "DNS", host);
    }
    if (names.empty()) return fail("no name or address of the dispatcher is given; browsers look for it");
    const auto authority = make_authority(dir, "Keyrail operators", "operator");
    if (!authority) return tl::make_unexpected(authority.error());
    Files files = {dir / "ca.pem", dir / "ca.key"};
    const auto server =
        certify_by(*authority, dir, "server",
                   {hosts.front(), "", Validity::from_now(kServerLifetime), names, "serverAuth"});
    if (!server) return tl::make_unexpected(server.error());
    files.insert(files.end(), server->begin(), server->end());
    return files;
}

Result<Files> certify_operator(const fs::path& dir, const std::string& name, const std::string& role,
                               const Validity& validity) {
    const auto authority = read_authority({dir / "ca.pem", dir / "ca.key"});
    if (!authority) return tl::make_unexpected(authority.error());
    return certify_by(*authority, dir, "operator-" + name,
                      {name, "keyrail:operator:" + role, validity, "", "clientAuth"});
}

}  // namespace keyrail::pki
