// SPDX-License-Identifier: Apache-2.0
// Renewal of the agent's certificate, over its connection to keyraild, when two thirds of its time are over.
// The key stays the same, so that one file is replaced, whole: a blade whose key may be known to others is
// revoked and enrolled anew.
#pragma once

#include <chrono>
#include <optional>

#include "control/protocol/tls_context.h"

namespace keyrail {

namespace chassis {
class CertificateReply;
class Envelope;
}  // namespace chassis

class Renewal {
  public:
    using Time = std::chrono::system_clock::time_point;
    static constexpr std::chrono::minutes kRetry{10};

    Renewal(TlsFiles files, TlsContext tls) : files_(std::move(files)), tls_(std::move(tls)) {}

    /// The request, when it is time for one.
    std::optional<chassis::Envelope> due(Time now);
    /// A new connection: ask again, whatever came of the last request.
    void retry() { next_ = {}; }
    /// Takes the new certificate into use, for connections from now on.
    void received(const chassis::CertificateReply& reply);

  private:
    Result<void> install(const chassis::CertificateReply& reply);

    TlsFiles files_;
    TlsContext tls_;
    Time next_{};  // not before
};

}  // namespace keyrail
