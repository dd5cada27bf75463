// SPDX-License-Identifier: Apache-2.0
// wrapped = ephemeral public key (65 bytes, uncompressed point) | nonce | encrypted key | tag
#include "control/repository/pool_key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "chassis.pb.h"

namespace keyrail {

namespace {

constexpr size_t kPoint = 65;

using KeyContext = std::unique_ptr<EVP_PKEY_CTX, FreedBy<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreedBy<EVP_MD_CTX_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, FreedBy<X509_STORE_CTX_free>>;

const uint8_t* bytes_of(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

std::string sha256(std::string_view text) {
    std::string digest(SHA256_DIGEST_LENGTH, '\0');
    SHA256(bytes_of(text), text.size(), reinterpret_cast<uint8_t*>(digest.data()));
    return digest;
}

std::string point_of(const EVP_PKEY* key) {
    uint8_t* raw = nullptr;
    const size_t size = EVP_PKEY_get1_encoded_public_key(const_cast<EVP_PKEY*>(key), &raw);
    std::string point(reinterpret_cast<const char*>(raw), size);
    OPENSSL_free(raw);
    return point;
}

KeyPtr key_at(std::string_view point) {
    KeyPtr key(EVP_PKEY_new());
    const KeyPtr group(EVP_EC_gen("P-256"));
    if (!key || !group || EVP_PKEY_copy_parameters(key.get(), group.get()) != 1 ||
        EVP_PKEY_set1_encoded_public_key(key.get(), bytes_of(point), point.size()) != 1)
        return nullptr;
    return key;
}

/// What both ends know: which key, for whom.
std::string about(std::string_view service, uint32_t generation, std::string_view recipient) {
    return fmt::format("keyrail pool key|{}|{}|{}", service, generation, recipient);
}

/// The key that wraps, from one's private and the other's public key (RFC 5869).
Result<SealingKey> wrapping_key(EVP_PKEY* own, EVP_PKEY* other, std::string_view ephemeral,
                                const std::string& context) {
    PoolKeyBytes shared, derived;
    size_t shared_size = shared.size(), derived_size = derived.size();
    const KeyContext agreement(EVP_PKEY_CTX_new(own, nullptr));
    const KeyContext hkdf(EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr));
    const bool good =
        agreement && hkdf && EVP_PKEY_derive_init(agreement.get()) == 1 &&
        EVP_PKEY_derive_set_peer(agreement.get(), other) == 1 &&
        EVP_PKEY_derive(agreement.get(), shared.data(), &shared_size) == 1 &&
        EVP_PKEY_derive_init(hkdf.get()) == 1 && EVP_PKEY_CTX_set_hkdf_md(hkdf.get(), EVP_sha256()) == 1 &&
        EVP_PKEY_CTX_set1_hkdf_salt(hkdf.get(), bytes_of(ephemeral), static_cast<int>(ephemeral.size())) ==
            1 &&
        EVP_PKEY_CTX_set1_hkdf_key(hkdf.get(), shared.data(), static_cast<int>(shared_size)) == 1 &&
        EVP_PKEY_CTX_add1_hkdf_info(hkdf.get(), bytes_of(context), static_cast<int>(context.size())) == 1 &&
        EVP_PKEY_derive(hkdf.get(), derived.data(), &derived_size) == 1 && derived_size == derived.size();
    if (!good) return fail("no key agreement: {}", openssl_reason());
    return SealingKey(derived);
}

CertificatePtr read_certificate(std::string_view der) {
    const uint8_t* at = bytes_of(der);
    CertificatePtr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    if (at != bytes_of(der) + der.size()) return nullptr;
    return certificate;
}

/// A blade's certificate of our chassis, good today.
Result<CertificatePtr> read_member(std::string_view der, const TlsContext& self) {
    CertificatePtr certificate = read_certificate(der);
    if (!certificate) return fail("a member's certificate cannot be read");
    const StoreContext check(X509_STORE_CTX_new());
    if (!check || X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(self.native()), certificate.get(),
                                      nullptr) != 1)
        return fail("out of memory");
    if (X509_verify_cert(check.get()) != 1)
        return fail("a member's certificate is refused: {}",
                    X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get())));
    const auto who = identity_of(certificate.get());
    if (!who) return tl::make_unexpected(who.error());
    if (!who->is_blade()) return fail("{} is no member of a pool", who->text());
    return certificate;
}

std::string signed_text(const chassis::PoolKey& key) {
    return about(key.service(), key.generation(), key.recipient()) + "|" + sha256(key.wrapped());
}

Result<std::string> sign(std::string_view text, EVP_PKEY* key) {
    const DigestContext context(EVP_MD_CTX_new());
    size_t size = 0;
    if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
        EVP_DigestSign(context.get(), nullptr, &size, bytes_of(text), text.size()) != 1)
        return fail("no signature: {}", openssl_reason());
    std::string signature(size, '\0');
    if (EVP_DigestSign(context.get(), reinterpret_cast<uint8_t*>(signature.data()), &size, bytes_of(text),
                       text.size()) != 1)
        return fail("no signature: {}", openssl_reason());
    signature.resize(size);
    return signature;
}

bool is_signed(std::string_view text, std::string_view signature, const X509* by) {
    const DigestContext context(EVP_MD_CTX_new());
    const bool good =
        context &&
        EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, X509_get0_pubkey(by)) == 1 &&
        EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(text), text.size()) ==
            1;
    if (!good) (void)openssl_reason();
    return good;
}

}  // namespace

std::string recipient_of(const X509* certificate) { return sha256(point_of(X509_get0_pubkey(certificate))); }

std::string recipient_of(std::string_view certificate) {
    const CertificatePtr read = read_certificate(certificate);
    return read ? recipient_of(read.get()) : "";
}

Result<chassis::PoolKey> wrap_pool_key(const PoolKeyBytes& key, std::string_view service, uint32_t generation,
                                       std::string_view recipient, const TlsContext& self) {
    const auto member = read_member(recipient, self);
    if (!member) return tl::make_unexpected(member.error());
    const KeyPtr ephemeral(EVP_EC_gen("P-256"));
    if (!ephemeral) return fail("no key: {}", openssl_reason());
    const std::string point = point_of(ephemeral.get());
    chassis::PoolKey out;
    out.set_service(std::string(service));
    out.set_generation(generation);
    out.set_recipient(recipient_of(member->get()));
    const std::string context = about(service, generation, out.recipient());
    const auto wrapping = wrapping_key(ephemeral.get(), X509_get0_pubkey(member->get()), point, context);
    if (!wrapping) return tl::make_unexpected(wrapping.error());
    SealingJob job{&*wrapping, context, std::string(key.begin(), key.end())};
    if (auto sealed = seal({&job, 1}); !sealed) return tl::make_unexpected(sealed.error());
    out.set_wrapped(point + job.text);
    out.set_by(info_of(SSL_CTX_get0_certificate(self.native())).der);
    auto signature = sign(signed_text(out), SSL_CTX_get0_privatekey(self.native()));
    if (!signature) return tl::make_unexpected(signature.error());
    out.set_signature(std::move(*signature));
    return out;
}

Result<PoolKeyBytes> unwrap_pool_key(const chassis::PoolKey& wrapped, const TlsContext& self) {
    const auto by = read_member(wrapped.by(), self);
    if (!by) return tl::make_unexpected(by.error());
    if (!is_signed(signed_text(wrapped), wrapped.signature(), by->get()))
        return fail("a pool key is not signed by the blade that is said to have wrapped it");
    if (wrapped.recipient() != recipient_of(SSL_CTX_get0_certificate(self.native())))
        return fail("a pool key is wrapped for another blade");
    if (wrapped.wrapped().size() != kPoint + kSealNonce + kPoolKeySize + kSealTag)
        return fail("a wrapped pool key has {} bytes", wrapped.wrapped().size());
    const std::string_view bytes = wrapped.wrapped();
    const KeyPtr ephemeral = key_at(bytes.substr(0, kPoint));
    if (!ephemeral) return fail("a wrapped pool key begins with no point of P-256");
    const std::string context = about(wrapped.service(), wrapped.generation(), wrapped.recipient());
    const auto wrapping = wrapping_key(SSL_CTX_get0_privatekey(self.native()), ephemeral.get(),
                                       bytes.substr(0, kPoint), context);
    if (!wrapping) return tl::make_unexpected(wrapping.error());
    auto plain = unseal(*wrapping, context, bytes.substr(kPoint));
    if (!plain) return fail("a wrapped pool key {}", plain.error().message);
    PoolKeyBytes key;
    std::copy(plain->begin(), plain->end(), key.begin());
    OPENSSL_cleanse(plain->data(), plain->size());
    return key;
}

}  // namespace keyrail
