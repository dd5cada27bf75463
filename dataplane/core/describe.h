// SPDX-License-Identifier: Apache-2.0
// From a parsed ClientHello to the facts by which it is steered.
#pragma once

#include "dataplane/common/ids.h"
#include "dataplane/core/hello_facts.h"
#include "dataplane/core/snapshot.h"

namespace keyrail {

/// The reason by which a hello is steered when none of its names is ours.
inline Reason unnamed_reason(HelloStatus status, const ClientHello& hello) {
    switch (status) {
        case HelloStatus::complete:
            return hello.offers_session() ? Reason::steer_foreign : Reason::steer_new;
        case HelloStatus::not_tls:
            return Reason::steer_not_tls;
        case HelloStatus::malformed:
            return Reason::steer_malformed;
        case HelloStatus::too_long:
            return Reason::steer_too_long;
        case HelloStatus::need_more:
            break;
    }
    return Reason::steer_incomplete;
}

/// Takes from a complete hello what steering needs; `facts.service` is set. The hello's bytes may go
/// afterwards.
inline void describe(HelloFacts& facts, const ClientHello& hello, const Snapshot& snapshot) {
    const Service& service = snapshot.services[facts.service];
    facts.pool = service.routes.find(hello).value_or(service.pool);
    facts.name_count = static_cast<uint8_t>(session_names(hello, facts.names));
    facts.tls_version = hello.has_psk ? TlsVersion::tls13 : TlsVersion::tls12;
    facts.early_data = hello.early_data;
    if (!snapshot.ticket_keys.empty()) facts.opener = snapshot.ticket_blade(hello.ticket_key_name());
}

}  // namespace keyrail
