// SPDX-License-Identifier: Apache-2.0
// The chassis CA: makes the certificates by which keyraild and the agents know each other (EC P-256, X.509v3;
// who it is stands in the SAN URI, RFC 5280 section 4.2.1.6). Used by `keyrail chassis init` and `keyrail
// blade certify` where the CA's key is, and by keyraild for blades that join or renew
// (control/README.md says when the key may be where).
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "control/protocol/identity.h"
#include "control/protocol/tls_context.h"
#include "dataplane/common/result.h"

namespace keyrail::pki {

using Files = std::vector<std::filesystem::path>;  // what was written
using Clock = std::chrono::system_clock;

inline constexpr std::chrono::days kCaLifetime{3650};
inline constexpr std::chrono::days kCertificateLifetime{825};
inline constexpr std::chrono::days kRenewedLifetime{90};  // where nobody has to think of the next one
inline constexpr std::chrono::days kServerLifetime{398};  // browsers take no longer one
inline constexpr std::chrono::days kOperatorLifetime{90};

/// From when to when a certificate is good.
struct Validity {
    Clock::time_point from, until;
    /// From an hour ago (clocks of blades differ) for `lifetime`.
    static Validity from_now(std::chrono::seconds lifetime);
};

/// Makes DIR/{ca.pem,ca.key,control.pem,control.key}; DIR is made with mode 0700 if it is not there. Keys get
/// mode 0600. Never overwrites a CA: that would lock out every blade.
Result<Files> init_chassis(const std::filesystem::path& dir, const std::string& name);

/// Makes DIR/<stem>.pem and .key for `who`, signed by DIR/ca.*; stem is "control" or "blade-<id>". Replaces
/// them.
Result<Files> certify(const std::filesystem::path& dir, const Identity& who,
                      const Validity& validity = Validity::from_now(kCertificateLifetime));

/// The CA of operators who come over the network, which is not the chassis' own: makes DIR/{ca.pem,ca.key},
/// and for keyraild server.pem and server.key, good for these names and addresses. Never overwrites a CA.
Result<Files> init_operators(const std::filesystem::path& dir, const std::vector<std::string>& hosts);

/// Makes DIR/operator-NAME.pem and .key, signed by DIR/ca.*; `role` is "read" or "admin".
Result<Files> certify_operator(const std::filesystem::path& dir, const std::string& name,
                               const std::string& role, const Validity& validity);

/// Where a chassis CA is, both PEM.
struct CaFiles {
    std::filesystem::path certificate, key;
};

/// What somebody who asked gets; DER.
struct Issued {
    std::string certificate, ca;
    CertificateInfo info;
};

/// Signs a PKCS#10 request (RFC 2986, DER) of a P-256 key; who it is for, `who` says, never the request.
/// The CA's key is read for this, and forgotten again.
Result<Issued> certify_request(const CaFiles& ca, std::string_view request, const Identity& who,
                               const Validity& validity);

/// A request (DER) of the key in `file`, which is made (0600) if it is not there.
Result<std::string> make_request(const std::filesystem::path& file);

/// Writes a DER certificate as PEM; its fingerprint.
Result<Fingerprint> write_certificate(const std::filesystem::path& file, std::string_view der);

Result<Fingerprint> fingerprint_of_file(const std::filesystem::path& file);

}  // namespace keyrail::pki
