// SPDX-License-Identifier: Apache-2.0
// OpenSSL's session callbacks: a server's sessions go into the blade's store under a name that says where
// they are, and come back from there. They are installed on every hooked SSL_CTX.
#pragma once

#include <openssl/ssl.h>

namespace keyrail::hooks {

int on_new(SSL* ssl, SSL_SESSION* session);
SSL_SESSION* on_get(SSL* ssl, const unsigned char* id, int size, int* copy);
void on_remove(SSL_CTX* context, SSL_SESSION* session);
int on_generate(SSL* ssl, unsigned char* id, unsigned int* size);

/// The client that resumes this session has not yet proved that it has its key (with its Finished, RFC 5246
/// section 7.4.9): whatever it sends may be of somebody who has only seen the session's name, and must not
/// cost the session. OpenSSL would remove it at any fatal alert.
bool unproven(const SSL_SESSION* session);
void set_unproven(SSL_SESSION* session, bool unproven);

/// While one exists on this thread, OpenSSL's removal of sessions does not reach the store. For SSL_free: it
/// removes the session of a connection that was not closed properly, which TLS 1.1 and later do not ask for
/// (RFC 5246 section 7.2.1), and which would cost just those clients their session whose network broke.
class KeepSessions {
  public:
    KeepSessions() { depth_++; }
    ~KeepSessions() { depth_--; }
    KeepSessions(const KeepSessions&) = delete;
    KeepSessions& operator=(const KeepSessions&) = delete;
    static bool active() { return depth_ > 0; }

  private:
    static thread_local int depth_;
};

}  // namespace keyrail::hooks
