// SPDX-License-Identifier: Apache-2.0
// Connections that other agents make to this one: they bring sessions. Only blades are let in, not control.
#pragma once

#include <functional>
#include <memory>

#include "control/agent/peers.h"
#include "control/protocol/channel.h"
#include "control/protocol/listener.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class PeerServer {
  public:
    /// The answer to one message of a blade (by its certificate); without a body there is none (yet). The
    /// request number is filled in.
    using Answer = std::function<chassis::Envelope(const ChannelPtr& from, const chassis::Envelope& message)>;

    /// Listens at `at`. `self`: this blade, which is not let in.
    static Result<std::unique_ptr<PeerServer>> open(asio::any_io_executor executor, TlsContext tls,
                                                    const HostPort& at, BladeId self, Answer answer);
    /// Closes every connection; `answer` is not called from then on.
    ~PeerServer();
    /// Who may send sessions, and with which certificates. Connections of others are cut.
    void configure(PeerBlades blades);
    PeerServer(const PeerServer&) = delete;
    PeerServer& operator=(const PeerServer&) = delete;

    struct Impl;

  private:
    PeerServer(std::shared_ptr<Impl> impl, std::shared_ptr<Listener> listener);
    std::shared_ptr<Impl> impl_;
    std::shared_ptr<Listener> listener_;
};

}  // namespace keyrail
