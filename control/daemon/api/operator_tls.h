// SPDX-License-Identifier: Apache-2.0
// TLS for operators who come over the network (RFC 8446): they show a certificate of the operators' CA, whose
// SAN URI says what they may: keyrail:operator:read or keyrail:operator:admin. That CA is not the chassis'
// own, whose certificates make blades. Who shows none may do nothing, and is told so.
#pragma once

#include <openssl/types.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string_view>

#include "control/daemon/api/actor.h"
#include "control/protocol/tls_context.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// What an operator's certificate says of the role; none: nothing, or more than one thing.
Role operator_role(const X509* certificate);

class OperatorTls {
  public:
    /// Reads and checks the files: `ca` is the operators', certificate and key are the server's own.
    static Result<std::unique_ptr<OperatorTls>> open(TlsFiles files);

    /// For the next connection. Files that have changed count at once; if they are no good the log says so,
    /// and the last good ones go on.
    [[nodiscard]] std::shared_ptr<SSL_CTX> current();

    /// Who is at the other end, once the handshake is done.
    static Actor actor_of(const SSL* session);

  private:
    using Stamp = std::array<std::pair<std::filesystem::file_time_type, std::uintmax_t>, 3>;
    explicit OperatorTls(TlsFiles files) : files_(std::move(files)) {}
    static Result<std::shared_ptr<SSL_CTX>> load(const TlsFiles& files);
    [[nodiscard]] Stamp stamp() const;

    TlsFiles files_;
    Stamp seen_{};
    std::shared_ptr<SSL_CTX> context_;
};

}  // namespace keyrail
