// SPDX-License-Identifier: Apache-2.0
// The connection to keyraild: made again and again, within a second; what comes by it is handed over.
#pragma once

#include <asio/any_io_executor.hpp>
#include <functional>
#include <memory>

#include "control/protocol/channel.h"

namespace keyrail {

struct ControlEvents {
    /// A new connection, before anything is received: send AgentHello and what follows it.
    std::function<asio::awaitable<void>(ChannelPtr)> connected;
    /// Everything but Ping, which is answered here.
    std::function<void(chassis::Envelope& message)> message;
    /// Of each Ping: what keyraild's clock shows (ms of TAI; 0: it does not say).
    std::function<void(uint64_t tai_ms)> clock;
};

class ControlSession {
  public:
    /// Connects at once; `tls` says who we are.
    ControlSession(asio::any_io_executor executor, TlsContext tls, HostPort control, ControlEvents events);
    ~ControlSession();
    ControlSession(const ControlSession&) = delete;
    ControlSession& operator=(const ControlSession&) = delete;

    /// Dropped, when there is no connection: keyraild learns all that matters from the next Announce and
    /// Health.
    void send(chassis::Envelope message);
    [[nodiscard]] bool connected() const;
    /// Ends the connection; a new one follows.
    void reconnect();

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
