// SPDX-License-Identifier: Apache-2.0
// Follows the kernel's links, neighbours and routes by netlink, and writes them into KernelTables. One socket
// carries the multicast events and the dumps, so that their order is the kernel's.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/core/shared.h"
#include "dataplane/link/kernel_tables.h"
#include "dataplane/link/netlink.h"

namespace keyrail {

class RouteFollower {
  public:
    static constexpr size_t kNoDump = 4;  // steps of a dump

    RouteFollower(KernelTables& tables, Shared& shared) : tables_(tables), shared_(shared) {}
    RouteFollower(const RouteFollower&) = delete;
    RouteFollower& operator=(const RouteFollower&) = delete;

    /// Subscribes, and asks for all that there is.
    Result<void> open();
    [[nodiscard]] int descriptor() const { return nl_socket_get_fd(socket_.get()); }
    /// Takes what has come; does not wait.
    void receive();
    /// What the kernel had before is not known as a whole.
    [[nodiscard]] bool dumping() const { return dump_ != kNoDump; }

  private:
    void next_dump_step();
    void request_dump();
    void dump_step_done();
    void on_message(nl_msg* message);
    void on_neighbour(nlmsghdr* header);
    void on_route(nlmsghdr* header);
    void on_link(nl_msg* message);
    void note_mtu(rtnl_link* link);
    std::optional<uint8_t> tag_stack(uint8_t below, uint16_t protocol, uint16_t vlan);

    KernelTables& tables_;
    Shared& shared_;
    NlSocket socket_;
    size_t dump_ = kNoDump;    // step that is under way
    bool dump_again_ = false;  // something was missed since it began
};

}  // namespace keyrail
