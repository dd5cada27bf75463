// SPDX-License-Identifier: Apache-2.0
// What one end of a chassis connection needs for mutual TLS 1.3 (RFC 8446): its certificate, its key, and the
// chassis CA, the only one it trusts. One context serves connections in both directions.
#pragma once

#include <openssl/types.h>

#include <filesystem>
#include <memory>

#include "control/protocol/identity.h"
#include "control/protocol/result.h"

namespace keyrail {

/// PEM files. The key must not be readable by group or others.
struct TlsFiles {
    std::filesystem::path ca, certificate, key;
};

class TlsContext {
  public:
    /// Reads and checks everything: that key and certificate belong together, that the CA signed it, that it
    /// is valid today, that it names somebody of a chassis. Errors name the file and say what to do.
    static Result<TlsContext> load(const TlsFiles& files);

    /// Who we are, by our own certificate.
    [[nodiscard]] const Identity& self() const { return self_; }
    [[nodiscard]] SSL_CTX* native() const { return context_.get(); }

  private:
    TlsContext(std::shared_ptr<SSL_CTX> context, Identity self) : context_(std::move(context)), self_(self) {}
    std::shared_ptr<SSL_CTX> context_;
    Identity self_;
};

/// The one chassis identity in the certificate's SAN URIs; none or several are an error.
Result<Identity> identity_of(const X509* certificate);

/// What went wrong in OpenSSL on this thread; empties its error queue.
std::string openssl_reason();

}  // namespace keyrail
