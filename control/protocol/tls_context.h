// SPDX-License-Identifier: Apache-2.0
// What one end of a chassis connection needs for mutual TLS 1.3 (RFC 8446): its certificate, its key, and the
// chassis CA, the only one it trusts. One context serves connections in both directions.
#pragma once

#include <openssl/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "control/protocol/identity.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// PEM files. The key must not be readable by group or others.
struct TlsFiles {
    std::filesystem::path ca, certificate, key;
};

/// SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` says it.
using Fingerprint = std::array<uint8_t, 32>;

/// What tells one certificate of a blade from another.
struct CertificateInfo {
    std::string serial;  // hex
    std::chrono::system_clock::time_point from, until;
    std::string der;
    /// Two thirds of its time are over: time for the next one.
    [[nodiscard]] bool due(std::chrono::system_clock::time_point now) const {
        return until - now < (until - from) / 3;
    }
};

/// Copies are one context: reload() is seen by all of them.
class TlsContext {
  public:
    /// Reads and checks everything: that key and certificate belong together, that the CA signed it, that it
    /// is valid today, that it names somebody of a chassis. Errors name the file and say what to do.
    static Result<TlsContext> load(const TlsFiles& files);

    /// For one that has no certificate yet: whom it connects to must show a chain to this CA.
    static Result<TlsContext> pinned(const Fingerprint& ca);

    /// A context from these files that may take the place of this one: it names the same identity.
    [[nodiscard]] Result<TlsContext> prepare(const TlsFiles& files) const;
    /// What prepare() made, for connections from now on. Cannot fail.
    void use(TlsContext prepared) { *state_ = std::move(*prepared.state_); }
    /// Both in one. On an error nothing has changed.
    Result<void> reload(const TlsFiles& files);

    /// Who we are, by our own certificate; a stranger, when pinned.
    [[nodiscard]] const Identity& self() const { return state_->self; }
    [[nodiscard]] const CertificateInfo& certificate() const { return state_->certificate; }
    /// When the CA's certificate ends; nullopt when pinned.
    [[nodiscard]] std::optional<std::chrono::system_clock::time_point> ca_until() const;
    [[nodiscard]] SSL_CTX* native() const { return state_->context.get(); }

  private:
    struct State {
        std::shared_ptr<SSL_CTX> context;
        Identity self;
        CertificateInfo certificate;
        Fingerprint pin{};
    };
    explicit TlsContext(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
};

/// The one chassis identity in the certificate's SAN URIs; none or several are an error.
Result<Identity> identity_of(const X509* certificate);

CertificateInfo info_of(const X509* certificate);
Fingerprint fingerprint_of(const X509* certificate);

/// What went wrong in OpenSSL on this thread; empties its error queue.
std::string openssl_reason();

}  // namespace keyrail
