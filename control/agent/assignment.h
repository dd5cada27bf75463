// SPDX-License-Identifier: Apache-2.0
// What keyraild assigned to this blade (chassis.Keys), checked whole before any of it is used.
#pragma once

#include <map>
#include <set>
#include <string>

#include "control/agent/accept_program.h"
#include "control/agent/name_keys.h"
#include "control/agent/peers.h"
#include "control/agent/records.h"
#include "control/store/store.h"
#include "dataplane/common/address.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class Keys;
}

struct Assignment {
    uint64_t version = 0;  // keyraild's number for it
    AcceptProgram::Keys cookie_keys;
    std::map<uint8_t, NameKeys::Key> name_keys;
    StoreControl control;         // for the hooks
    std::set<HostPort> services;  // all
    std::set<HostPort> held;      // those whose connections the accept program takes
    ServedServices served;
    std::set<std::string> sealed;  // services with a repository
    PeerBlades peers;
    std::set<BladeId> revoked;  // blades whose sessions are worth nothing

    Assignment() = default;
    Assignment(Assignment&&) = default;
    Assignment& operator=(Assignment&&) = default;
    ~Assignment();

    /// `self`: this blade; keys meant for another one are an error.
    static Result<Assignment> from(const chassis::Keys& message, BladeId self);
};

}  // namespace keyrail
