// SPDX-License-Identifier: Apache-2.0
// The reason by which a hello is steered when none of its names is ours.
#pragma once

#include "dataplane/common/verdict.h"
#include "dataplane/wire/client_hello.h"

namespace keyrail {

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

}  // namespace keyrail
