// SPDX-License-Identifier: Apache-2.0
// Continuance on this blade (chassis.Drain): while it drains until a deadline its servers renew tickets, and
// connections that are idle are closed.
#pragma once

#include <set>

#include "control/store/store_control.h"
#include "dataplane/common/address.h"

namespace keyrail {

namespace chassis {
class Drain;
}

class Drainer {
  public:
    /// What keyraild wants from now on.
    void set(const chassis::Drain& drain);
    /// What the servers are told of it.
    void fill(StoreControl& control) const { control.renew_tickets = renew_tickets_; }
    /// Call it every second.
    void tick(const std::set<HostPort>& services) const;

  private:
    bool renew_tickets_ = false, close_idle_ = false;
};

}  // namespace keyrail
