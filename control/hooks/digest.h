// SPDX-License-Identifier: Apache-2.0
// The running digest of a session: SHA-256 over its digest before and both sides' randoms, at each handshake.
// Nobody who does not see the handshakes can say what comes next, so that a copy of a record shows.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <span>

#include "control/store/store.h"

namespace keyrail::hooks {

/// Fetched once; nullptr: this OpenSSL has none.
const EVP_MD* sha256();
std::array<uint8_t, 32> sha256_of(std::span<const uint8_t> bytes);

SessionDigest chained(const SessionDigest& before, const SSL* ssl);

}  // namespace keyrail::hooks
