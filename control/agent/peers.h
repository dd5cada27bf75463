// SPDX-License-Identifier: Apache-2.0
// Connections to the agents of the other blades: made at once, kept open, made again when they break.
#pragma once

#include <asio/any_io_executor.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/protocol/channel.h"
#include "dataplane/common/ids.h"

namespace keyrail {

/// Another blade's agent.
struct PeerBlade {
    HostPort address;
    std::set<std::string> certificates;  // serials (hex) that are good; empty: any of the chassis CA

    [[nodiscard]] bool accepts(const CertificateInfo& shown) const {
        return certificates.empty() || certificates.contains(shown.serial);
    }
};
using PeerBlades = std::map<BladeId, PeerBlade>;

struct PeerEvents {
    std::function<void(BladeId blade, const chassis::Envelope& message)> message;
    std::function<void(BladeId blade)> connected;
    std::function<void(BladeId blade)> lost;  // the connection broke: no answer will come by it
};

class Peers {
  public:
    Peers(asio::any_io_executor executor, TlsContext tls, PeerEvents events);
    ~Peers();
    Peers(const Peers&) = delete;
    Peers& operator=(const Peers&) = delete;

    /// Connections to those that stay are kept.
    void configure(const PeerBlades& blades);
    [[nodiscard]] bool connected(BladeId blade) const;
    /// Connects at once, though the next attempt is not due. Nothing happens within Backoff::kFirst of the
    /// last attempt, while it is connected, and for a blade that is not configured.
    void try_now(BladeId blade);
    /// Queues a message; an error: nothing was queued.
    Result<void> send(BladeId blade, chassis::Envelope message);

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
