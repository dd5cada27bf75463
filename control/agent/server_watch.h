// SPDX-License-Identifier: Apache-2.0
// Which services have a server behind them, by address: watches the LISTEN sockets of the agent's own network
// namespace (NETLINK_SOCK_DIAG). The kernel says at once when one is closed; a dump finds those that are
// opened. And whether the VIPs are addresses of this machine at all.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

class ServerWatch {
  public:
    static constexpr std::chrono::milliseconds kInterval{200};
    static constexpr int kLooksPerAddresses = 5;  // addresses change seldom

    struct Server {
        bool listening = false;     // somebody, at this address and its family, or at every one
        bool mptcp = false;         // all who do, do so by MPTCP (RFC 8684): no late binding
        bool address_here = false;  // this machine takes what comes for it
        bool operator==(const Server&) const = default;
    };
    using Servers = std::map<HostPort, Server>;

    static Result<std::shared_ptr<ServerWatch>> open(asio::any_io_executor executor,
                                                     std::function<void()> changed);
    struct Impl;
    explicit ServerWatch(std::shared_ptr<Impl> impl);
    ~ServerWatch();
    ServerWatch(const ServerWatch&) = delete;
    ServerWatch& operator=(const ServerWatch&) = delete;

    /// What to look for; looks at once.
    void watch(std::set<HostPort> services);
    [[nodiscard]] const Servers& servers() const;

  private:
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
