// SPDX-License-Identifier: Apache-2.0
// Restore: keyraild found a session in a repository and sends it to this blade, which opens, checks and
// stores it.
#pragma once

#include "chassis.pb.h"
#include "control/agent/checkpointer.h"
#include "control/agent/name_keys.h"

namespace keyrail {

class Restorer {
  public:
    /// All of them outlive this. `self`: this blade.
    Restorer(Store& store, const Checkpointer& checkpointer, const NameKeys& names, uint16_t self)
        : store_(store), checkpointer_(checkpointer), names_(names), self_(self) {}

    /// MOVED, or REFUSED with the reason.
    chassis::MoveDone restore(const chassis::Restore& restore);

  private:
    Store& store_;
    const Checkpointer& checkpointer_;
    const NameKeys& names_;
    uint16_t self_;
};

}  // namespace keyrail
