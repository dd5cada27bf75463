// SPDX-License-Identifier: Apache-2.0
// Restore: keyraild found a session in a repository and sends it to this blade, which opens, checks and
// stores it.
#pragma once

#include "chassis.pb.h"
#include "control/agent/checkpointer.h"
#include "control/agent/name_keys.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Restorer {
  public:
    /// All of them outlive this. `self`: this blade.
    Restorer(Store& store, Checkpointer& checkpointer, const NameKeys& names, const Fences& fences,
             BladeId self)
        : store_(store), checkpointer_(checkpointer), names_(names), fences_(fences), self_(self) {}

    /// MOVED, or REFUSED with the reason.
    chassis::MoveDone restore(const chassis::Restore& restore);

  private:
    Store& store_;
    Checkpointer& checkpointer_;
    const NameKeys& names_;
    const Fences& fences_;
    BladeId self_;
};

}  // namespace keyrail
