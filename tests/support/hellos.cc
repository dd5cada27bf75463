// SPDX-License-Identifier: Apache-2.0
#include "tests/support/hellos.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace keyrail::test {
namespace {

template <auto Free>
struct Deleter {
    void operator()(auto* p) const { Free(p); }
};
using Context = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Deleter<SSL_free>>;
using Session = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION_free>>;

void check(bool good, const char* what) {
    if (!good) throw std::runtime_error(what);
}

/// A PSK identity goes on the wire as the ticket of a TLS 1.3 session: OpenSSL lets a client bring both
/// itself.
struct Psk {
    std::vector<uint8_t> identity;
    bool early_data = false;
};
int use_psk(SSL* ssl, const EVP_MD*, const unsigned char** id, size_t* id_size, SSL_SESSION** session) {
    const auto* psk = static_cast<const Psk*>(SSL_get_app_data(ssl));
    if (psk == nullptr) return 1;
    static constexpr uint8_t kTls13Aes128[] = {0x13, 0x01};
    Session made(SSL_SESSION_new());
    const std::vector<uint8_t> secret(32, 0x5a);
    if (!SSL_SESSION_set1_master_key(made.get(), secret.data(), secret.size()) ||
        !SSL_SESSION_set_cipher(made.get(), SSL_CIPHER_find(ssl, kTls13Aes128)) ||
        !SSL_SESSION_set_protocol_version(made.get(), TLS1_3_VERSION))
        return 0;
    if (psk->early_data) SSL_SESSION_set_max_early_data(made.get(), 1 << 14);
    *id = psk->identity.data();
    *id_size = psk->identity.size();
    *session = made.release();
    return 1;
}

/// TLS 1.2: a session whose id is the name.
Session tls12_session(SSL* ssl, const SessionName& name) {
    static constexpr uint8_t kEcdheRsaAes128Gcm[] = {0xc0, 0x2f};
    Session session(SSL_SESSION_new());
    const std::vector<uint8_t> secret(48, 0x5a);
    check(SSL_SESSION_set1_id(session.get(), name.data(), static_cast<unsigned>(name.size())), "id");
    check(SSL_SESSION_set1_master_key(session.get(), secret.data(), secret.size()), "master key");
    check(SSL_SESSION_set_cipher(session.get(), SSL_CIPHER_find(ssl, kEcdheRsaAes128Gcm)), "cipher");
    check(SSL_SESSION_set_protocol_version(session.get(), TLS1_2_VERSION), "version");
    return session;
}

int add_padding(SSL*, unsigned, unsigned, const unsigned char** out, size_t* size, X509*, size_t, int*,
                void* arg) {
    const auto* bytes = static_cast<const std::vector<uint8_t>*>(arg);
    *out = bytes->data();
    *size = bytes->size();
    return 1;
}

/// X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem): an ML-KEM-768 encapsulation key, then an X25519 share.
constexpr uint16_t kX25519MlKem768 = 0x11ec;
constexpr size_t kX25519MlKem768Share = 1184 + 32;
constexpr uint16_t kSupportedGroups = 10, kKeyShare = 51;

size_t read16(const std::vector<uint8_t>& bytes, size_t at) { return size_t{bytes[at]} << 8 | bytes[at + 1]; }
void add16(std::vector<uint8_t>& bytes, size_t at, size_t more) {
    const size_t sum = read16(bytes, at) + more;
    bytes[at] = static_cast<uint8_t>(sum >> 8);
    bytes[at + 1] = static_cast<uint8_t>(sum);
}

/// The hello (first record) as OpenSSL 3.5 would have made it: X25519MLKEM768 first among groups and shares.
/// A PSK's binder was made before and is wrong now, which only its server could tell.
void add_post_quantum_share(std::vector<uint8_t>& hello) {
    constexpr size_t kRecordSize = 3, kMessageSize = 7, kSessionId = 5 + 4 + 2 + 32;
    size_t at = kSessionId + 1 + hello[kSessionId];
    at += 2 + read16(hello, at);  // cipher suites
    at += 1 + hello[at];          // compression
    const size_t extensions = at, end = at + 2 + read16(hello, at);
    size_t added = 0;
    for (at += 2; at < end + added;) {
        const size_t type = read16(hello, at), size = at + 2, list = at + 4;
        std::vector<uint8_t> entry;
        if (type == kSupportedGroups || type == kKeyShare)
            entry = {kX25519MlKem768 >> 8, kX25519MlKem768 & 0xff};
        if (type == kKeyShare) {
            entry.insert(entry.end(), {kX25519MlKem768Share >> 8, kX25519MlKem768Share & 0xff});
            uint8_t noise = 0x5a;
            for (size_t i = 0; i < kX25519MlKem768Share; i++)
                entry.push_back(noise = static_cast<uint8_t>(noise * 29 + 17));
        }
        if (!entry.empty()) {
            hello.insert(hello.begin() + static_cast<ptrdiff_t>(list + 2), entry.begin(), entry.end());
            add16(hello, size, entry.size());
            add16(hello, list, entry.size());
            added += entry.size();
        }
        at += 4 + read16(hello, size);
    }
    add16(hello, extensions, added);
    add16(hello, kMessageSize, added);
    add16(hello, kRecordSize, added);
}

/// False: this OpenSSL does not know X25519MLKEM768.
bool offer_post_quantum(SSL_CTX* context) {
    const bool known = SSL_CTX_set1_groups_list(context, "*X25519MLKEM768/*X25519:P-256:X448:P-521:P-384");
    ERR_clear_error();
    return known;
}

}  // namespace

std::vector<uint8_t> client_hello(const HelloOptions& options) {
    const Context context(SSL_CTX_new(TLS_client_method()));
    check(SSL_CTX_set_max_proto_version(context.get(), number_of(options.max_version)), "version");
    const bool post_quantum = options.post_quantum && options.max_version == TlsVersion::tls13;
    const bool made_here = post_quantum && !offer_post_quantum(context.get());
    if (made_here || !post_quantum)
        check(SSL_CTX_set1_groups_list(context.get(), "X25519:P-256:X448:P-521:P-384"), "groups");
    const std::vector<uint8_t> padding(options.padding, 0x77);
    if (options.padding > 0)
        check(SSL_CTX_add_custom_ext(context.get(), 65000, SSL_EXT_CLIENT_HELLO, add_padding, nullptr,
                                     const_cast<std::vector<uint8_t>*>(&padding), nullptr, nullptr),
              "padding");
    const Connection ssl(SSL_new(context.get()));
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl.get());
    check(SSL_set_tlsext_host_name(ssl.get(), options.server_name.c_str()), "server name");
    if (!options.alpn.empty())
        check(SSL_set_alpn_protos(ssl.get(), options.alpn.data(),
                                  static_cast<unsigned>(options.alpn.size())) == 0,
              "alpn");
    Psk psk{options.ticket, options.early_data};
    if (options.name) psk.identity.assign(options.name->begin(), options.name->end());
    if (!psk.identity.empty() && options.max_version == TlsVersion::tls13) {
        SSL_set_app_data(ssl.get(), &psk);
        SSL_set_psk_use_session_callback(ssl.get(), use_psk);
    } else if (options.name) {
        check(SSL_set_session(ssl.get(), tls12_session(ssl.get(), *options.name).get()), "session");
    } else if (!options.ticket.empty()) {
        check(
            SSL_set_session_ticket_ext(ssl.get(), psk.identity.data(), static_cast<int>(psk.identity.size())),
            "ticket");
    }
    if (options.early_data) {
        size_t written = 0;
        SSL_write_early_data(ssl.get(), "GET /", 5, &written);
    } else {
        SSL_connect(ssl.get());
    }
    std::vector<uint8_t> bytes(1 << 16);
    const int size = BIO_read(SSL_get_wbio(ssl.get()), bytes.data(), static_cast<int>(bytes.size()));
    check(size > 0, "no ClientHello");
    bytes.resize(static_cast<size_t>(size));
    if (made_here) add_post_quantum_share(bytes);
    return bytes;
}

std::vector<uint8_t> in_records_of(const std::vector<uint8_t>& one_record, size_t size) {
    std::vector<uint8_t> out;
    for (size_t at = 5; at < one_record.size(); at += size) {
        const size_t n = std::min(size, one_record.size() - at);
        out.insert(out.end(), {22, 3, 1, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
        out.insert(out.end(), one_record.begin() + static_cast<ptrdiff_t>(at),
                   one_record.begin() + static_cast<ptrdiff_t>(at + n));
    }
    return out;
}

}  // namespace keyrail::test
