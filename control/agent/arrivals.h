// SPDX-License-Identifier: Apache-2.0
// Tells the dispatcher that a session has arrived (dataplane/common/arrival.h): a datagram that may be lost.
#pragma once

#include "dataplane/common/address.h"
#include "dataplane/common/arrival.h"

namespace keyrail {

class Arrivals {
  public:
    /// `dispatcher`: where keyraild is. Where no socket can be had, nothing is told, and the log says so.
    explicit Arrivals(const IpAddress& dispatcher);
    ~Arrivals();
    Arrivals(const Arrivals&) = delete;
    Arrivals& operator=(const Arrivals&) = delete;

    /// Nothing, where nobody waits for it (port 0).
    void tell(const Arrival& arrival) const;

  private:
    IpAddress dispatcher_;
    int socket_;
};

}  // namespace keyrail
