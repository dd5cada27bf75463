// SPDX-License-Identifier: Apache-2.0
// Late or early binding: what a service wants, what its blades can do, and why it came out so.
#pragma once

#include <string>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"

namespace keyrail {

struct BindingChoice {
    bool late = true;
    std::string why;  // in a few words, for people
};

/// Of a service that steers by session. Blades that have not been heard of do not count: what they can, they
/// say before they get a client.
BindingChoice choose_binding(const ServiceConfig& service, const Blades& blades);

}  // namespace keyrail
