// SPDX-License-Identifier: Apache-2.0
// Which service ports have a server behind them: watches the LISTEN sockets of the agent's own network
// namespace (NETLINK_SOCK_DIAG). The kernel says at once when one is closed; a dump finds those that are
// opened.
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
    /// Port -> somebody listens there, on one of the service's addresses or on all.
    using Ports = std::map<uint16_t, bool>;

    static Result<std::shared_ptr<ServerWatch>> open(asio::any_io_executor executor,
                                                     std::function<void()> changed);
    struct Impl;
    explicit ServerWatch(std::shared_ptr<Impl> impl);
    ~ServerWatch();
    ServerWatch(const ServerWatch&) = delete;
    ServerWatch& operator=(const ServerWatch&) = delete;

    /// What to look for; looks at once.
    void watch(std::set<HostPort> services);
    [[nodiscard]] const Ports& ports() const;

  private:
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
