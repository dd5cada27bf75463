// SPDX-License-Identifier: Apache-2.0
// The agents of the blades: lets them in by their certificates, passes messages both ways, and watches
// whether they can be reached. An agent that is gone is not a blade that is gone (control/README.md, "agent
// loss"): while a TCP connect to the agent's port is answered at all, the blade counts as alive.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "control/daemon/config/config.h"
#include "control/protocol/channel.h"
#include "control/protocol/listener.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class CertificateReply;
class CertificateRequest;
class Envelope;
}  // namespace chassis

struct AgentEvents {
    /// Why a blade with this certificate is not let in; empty: it is. Asked when an agent connects, and again
    /// of those that are connected at every configure().
    std::function<std::string(uint16_t blade, const CertificateInfo& certificate)> refusal;
    /// Somebody without a certificate has a token (blade 0), or an agent wants its next certificate.
    std::function<chassis::CertificateReply(const Channel& from, const chassis::CertificateRequest& request)>
        certificate;
    /// A blade's agent is there; send() works from now on.
    std::function<void(uint16_t blade)> connected;
    std::function<void(uint16_t blade)> lost;
    /// Everything but Ping, Pong and answers to ask().
    std::function<void(uint16_t blade, const chassis::Envelope& message)> message;
    /// Neither agent nor machine has answered for kGone; or one of them answers again.
    std::function<void(uint16_t blade, bool answers)> reachable;
};

class Agents {
  public:
    static constexpr std::chrono::milliseconds kWatch{250};  // pings, probes
    static constexpr std::chrono::milliseconds kQuiet{500};  // no word for so long: probe
    static constexpr std::chrono::milliseconds kGone{1000};  // no answer of any kind for so long: down
    // Who has no certificate gets this long to ask for one, and so many may ask at once.
    static constexpr std::chrono::milliseconds kStrangerTimeout{3000};
    static constexpr size_t kMaxStrangers = 16;

    Agents(asio::any_io_executor executor, AgentEvents events);
    ~Agents();
    Agents(const Agents&) = delete;
    Agents& operator=(const Agents&) = delete;

    /// A listener where the configuration says, with these certificates; empty when it is the one in use.
    struct Prepared {
        std::shared_ptr<Listener> listener;
        HostPort at;
    };
    [[nodiscard]] Result<Prepared> prepare(const Config& next, const TlsContext& tls) const;
    /// Takes it into use, and drops the agents that are not to be let in any more: `refusal` is asked of
    /// each. Cannot fail.
    void commit(const Config& config, Prepared prepared);
    void stop();

    [[nodiscard]] bool connected(uint16_t blade) const;
    [[nodiscard]] size_t count() const;
    /// Its agent was here, and now neither agent nor machine has answered for kGone (a connection that nobody
    /// closed may be left).
    [[nodiscard]] bool gone(uint16_t blade) const;
    /// DER; "" when its agent is not connected.
    [[nodiscard]] std::string certificate(uint16_t blade) const;
    /// An error when the agent is not connected, or does not read what it is sent.
    Result<void> send(uint16_t blade, chassis::Envelope message);
    /// Asks an agent something (Query, List, Purge) and waits for its answer.
    asio::awaitable<Result<chassis::Envelope>> ask(uint16_t blade, chassis::Envelope question,
                                                   std::chrono::milliseconds timeout);
    /// The port that is listened on.
    [[nodiscard]] uint16_t port() const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
