// SPDX-License-Identifier: Apache-2.0
// OpenSSL's error queue belongs to the server: it asks it why a call of its own failed, and takes what it
// finds there for the reason (nginx: for a failed handshake). Whatever the hooks try and fail at must leave
// nothing behind.
#pragma once

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

/// As long as one lives, what goes wrong in OpenSSL is ours; afterwards the queue is as it was.
class OwnErrors {
  public:
    OwnErrors() {
        if (openssl().complete) openssl().ERR_set_mark();
    }
    ~OwnErrors() {
        if (openssl().complete) openssl().ERR_pop_to_mark();
    }
    OwnErrors(const OwnErrors&) = delete;
    OwnErrors& operator=(const OwnErrors&) = delete;
};

}  // namespace keyrail::hooks
