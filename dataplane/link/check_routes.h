// SPDX-License-Identifier: Apache-2.0
// The way of keyraild's checks: to a VIP on one certain blade. Packets with that blade's mark
// (common/check_mark.h) are looked up in a routing table of its own, whose default route is the blade:
//
//   100    fwmark 0x4b520000/0xffff0000 goto 40000   all others are asked no more than this
//   40001  fwmark 0x4b520003 lookup 0x4b520003       for each blade
//   40002  fwmark 0x4b520000/0xffff0000 unreachable  no check leaves by another way
//
// A VIP of the other family than the blade's address has no gateway of its own: IPv4 goes by the IPv6 address
// (RTA_VIA), IPv6 by a link-local neighbour that is made up, with the blade's MAC.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "dataplane/common/ids.h"
#include "dataplane/link/kernel_tables.h"
#include "dataplane/link/netlink.h"

namespace keyrail {

class CheckRoutes {
  public:
    /// `send`: nobody waits for an answer.
    explicit CheckRoutes(std::function<void(const NlMessage&)> send) : send_(std::move(send)) {}

    struct Way {
        NeighbourKey blade;  // the interface, and its address
        NextHop hop;         // unknown: its MAC is not known yet
        bool operator==(const Way& other) const {
            return blade == other.blade && hop.pack() == other.hop.pack();
        }
    };
    /// What there is to be; the rest is taken away. `families` of the VIPs.
    void sync(const std::map<BladeId, Way>& ways, const std::set<uint8_t>& families);

  private:
    void begin(uint8_t family);
    void add(BladeId blade, const Way& way, uint8_t family);
    void remove(BladeId blade, uint8_t family);
    void rule(uint8_t family, uint32_t priority, uint32_t mark, uint32_t mask, uint8_t action, uint32_t to,
              bool wanted);

    std::function<void(const NlMessage&)> send_;
    std::set<uint8_t> begun_;  // families
    std::map<std::pair<BladeId, uint8_t>, Way> have_;
};

}  // namespace keyrail
