// SPDX-License-Identifier: Apache-2.0
// What another configuration does to those who are served now: said before it is applied.
#pragma once

#include <string>
#include <vector>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"
#include "control/daemon/moves/economics.h"

namespace keyrail {

/// How bad it is: what takes something from somebody is not done unasked.
enum class Harm : uint8_t { none, blade_with_sessions, vip_in_use };

struct Effect {
    std::string text;  // a sentence
    Harm harm = Harm::none;
    uint16_t blade = 0;  // whose sessions are lost
};

std::vector<Effect> effects_of(const Config& now, const Config& next, const Blades& blades,
                               const Economics& economics);

/// What is made once, at the start: "FILE: what; what to do" of each key that cannot change; "" when none
/// does.
std::vector<std::string> fixed_keys_changed(const Config& now, const Config& next);

}  // namespace keyrail
