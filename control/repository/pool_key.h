// SPDX-License-Identifier: Apache-2.0
// A pool key on its way from one member of a pool to another, past keyraild, which must not learn it: wrapped
// for the recipient's certificate key (ephemeral-static ECDH on P-256, HKDF-SHA256, AES-256-GCM), signed by
// the certificate key of who wrapped it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/protocol/openssl_ptr.h"
#include "control/protocol/tls_context.h"
#include "control/repository/sealer.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class PoolKey;
}

/// SHA-256 of its public key: tells a member's wrapped keys from those of others, and from those of a key
/// that it had before.
std::string recipient_of(const X509* certificate);
/// The same of one in DER; "": it cannot be read.
std::string recipient_of(std::string_view certificate);

/// A key for `recipient` (DER), which must be the certificate of a blade, good today, of our chassis CA.
/// Signed with `self`'s own key.
Result<chassis::PoolKey> wrap_pool_key(const PoolKeyBytes& key, std::string_view service, uint32_t generation,
                                       std::string_view recipient, const TlsContext& self);

/// The key that a blade of this chassis wrapped for us.
Result<PoolKeyBytes> unwrap_pool_key(const chassis::PoolKey& wrapped, const TlsContext& self);

}  // namespace keyrail
