// SPDX-License-Identifier: Apache-2.0
// One check: a connection, a TLS handshake, a request, as far as its type goes. On the caller's executor,
// never on a thread of its own.
#pragma once

#include <openssl/ssl.h>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <memory>
#include <string>

#include "control/daemon/checks/check_state.h"
#include "control/daemon/config/check_keys.h"
#include "control/protocol/openssl_ptr.h"
#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

using TlsSessionPtr = std::unique_ptr<SSL_SESSION, FreedBy<SSL_SESSION_free>>;
using TlsClientPtr = std::shared_ptr<SSL_CTX>;

/// For the checks of one pool: whom it believes, what it offers. Errors name the file.
Result<TlsClientPtr> make_tls_client(const CheckConfig& check);

struct Probe {
    CheckConfig check;
    TlsClientPtr tls;  // of a tls or https check
    HostPort to;
    uint32_t mark = 0;  // SO_MARK: which blade's routing table (dataplane/common/check_mark.h); 0: none
    std::string sni;    // "": none
};

struct ProbeResult {
    CheckAnswer answer;
    TlsSessionPtr session;  // a new one, to be resumed once; nullptr: none came
    IpAddress from;         // our own address; family 0: it did not come so far
};

/// Takes `check.timeout` at most. `session` (may be nullptr) is offered for resumption.
asio::awaitable<ProbeResult> run_probe(asio::any_io_executor executor, Probe probe, TlsSessionPtr session);

}  // namespace keyrail
