// SPDX-License-Identifier: Apache-2.0
// What `keyrail blade enroll` prints and `keyrail-agent join` takes: where keyraild is, which chassis CA must
// answer there, and a secret that is good for one certificate of one blade.
//
//   keyrail-join/<blade id>/<address:port>/<SHA-256 of the CA certificate, hex>/<secret, hex>
#pragma once

#include <string>
#include <string_view>

#include "control/protocol/tls_context.h"
#include "dataplane/common/address.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct JoinToken {
    static constexpr size_t kSecretSize = 16;
    JoinToken() = default;
    JoinToken(const JoinToken&) = default;
    JoinToken& operator=(const JoinToken&) = default;
    ~JoinToken();

    BladeId blade = 0;
    HostPort control;
    Fingerprint ca{};
    std::string secret;

    /// The secret is in it: print it once, log it never.
    [[nodiscard]] std::string text() const;
    static Result<JoinToken> parse(std::string_view text);
};

}  // namespace keyrail
