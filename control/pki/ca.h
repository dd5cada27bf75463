// SPDX-License-Identifier: Apache-2.0
// The chassis CA: makes the certificates by which keyraild and the agents know each other (EC P-256, X.509v3;
// who it is stands in the SAN URI, RFC 5280 section 4.2.1.6). Used by `keyrail chassis init` and `keyrail
// blade certify`.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "control/protocol/identity.h"
#include "control/protocol/result.h"

namespace keyrail::pki {

using Files = std::vector<std::filesystem::path>;  // what was written
using Clock = std::chrono::system_clock;

inline constexpr std::chrono::days kCaLifetime{3650};
inline constexpr std::chrono::days kCertificateLifetime{825};

/// From when to when a certificate is good.
struct Validity {
    Clock::time_point from, until;
    /// From an hour ago (clocks of blades differ) for `lifetime`.
    static Validity from_now(std::chrono::days lifetime);
};

/// Makes DIR/{ca.pem,ca.key,control.pem,control.key}; DIR is made with mode 0700 if it is not there. Keys get
/// mode 0600. Never overwrites a CA: that would lock out every blade.
Result<Files> init_chassis(const std::filesystem::path& dir, const std::string& name);

/// Makes DIR/<stem>.pem and .key for `who`, signed by DIR/ca.*; stem is "control" or "blade-<id>". Replaces
/// them.
Result<Files> certify(const std::filesystem::path& dir, const Identity& who,
                      const Validity& validity = Validity::from_now(kCertificateLifetime));

}  // namespace keyrail::pki
