// SPDX-License-Identifier: Apache-2.0
// Listener: takes chassis connections on a TCP port and hands over those whose peer proved who it is.
#pragma once

#include <functional>
#include <memory>

#include "control/protocol/channel.h"

namespace keyrail {

/// Accepts connections, makes the handshake with each, and runs `serve` for those whose peer proved who it
/// is. At most kMaxHandshakes are under way at once; beyond that the newest connection is closed.
class Listener {
  public:
    static constexpr size_t kMaxHandshakes = 64;
    using Serve = std::function<asio::awaitable<void>(ChannelPtr)>;
    using Refused =
        std::function<void(const Error&)>;  // for the log: who was not let in, or whose session threw

    static Result<std::shared_ptr<Listener>> open(asio::any_io_executor executor, TlsContext tls,
                                                  const HostPort& at, Serve serve, Refused refused,
                                                  Strangers strangers = Strangers::refused);
    struct Impl;
    explicit Listener(std::shared_ptr<Impl> impl);
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// The bound port, also where `at` said 0.
    [[nodiscard]] uint16_t port() const;
    /// Takes no more connections; running sessions are their owner's.
    void close();

  private:
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
