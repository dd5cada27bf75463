// SPDX-License-Identifier: Apache-2.0
// The site that a client asks for by SNI (RFC 6066 section 3). OpenSSL looks for the session first, and calls
// the server's callback, which may change to the SSL_CTX of another site, afterwards: too late to say whether
// the session may be had there. So it is called once more, before, and what it changed is changed back:
// OpenSSL finds all as it was.
#pragma once

#include <openssl/ssl.h>

#include "control/hooks/ssl_ctx.h"

namespace keyrail::hooks {

/// Within OpenSSL's question for a session: the connection is at the site that the client asks for as long as
/// one lives.
class AskedSite {
  public:
    AskedSite(SSL* ssl, const ContextHooks& began_with);
    ~AskedSite();
    AskedSite(const AskedSite&) = delete;
    AskedSite& operator=(const AskedSite&) = delete;
    /// False: the server turns the client away, or the name cannot be read; there is no session for it.
    [[nodiscard]] bool known() const { return known_; }

  private:
    bool ask(const ContextHooks& began_with);

    SSL* ssl_;
    SSL_CTX* context_;
    int verify_mode_, verify_depth_;
    SSL_verify_cb verify_;
    uint64_t options_;
    bool known_;
};

/// SSL_get_servername while the server is asked; nullptr: it is not, for this connection.
const char* asked_for(const SSL* ssl);

/// SSL_get_session likewise.
SSL_SESSION* session_to_be(const SSL* ssl);

/// The session was made under the name that the client now asks for (RFC 6066 section 3), or under none.
bool same_name(SSL* ssl, const SSL_SESSION* session);

}  // namespace keyrail::hooks
