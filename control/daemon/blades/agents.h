// SPDX-License-Identifier: Apache-2.0
// The agents of the blades: lets them in by their certificates, passes messages both ways, and watches
// whether the blades answer. An agent that is away is not a blade that is gone (control/README.md, "What a
// blade takes"): while a TCP connect to the agent's port is answered at all, be it by a reset, the blade's
// kernel lives, and its flows with it. Whose agent never came is watched, too: it may have flows of before.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "control/daemon/config/config.h"
#include "control/protocol/channel.h"
#include "control/protocol/listener.h"
#include "dataplane/common/ids.h"
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
    std::function<std::string(BladeId blade, const CertificateInfo& certificate)> refusal;
    /// Somebody without a certificate has a token (blade 0), or an agent wants its next certificate.
    std::function<chassis::CertificateReply(const Channel& from, const chassis::CertificateRequest& request)>
        certificate;
    /// Somebody was not let in; blade 0: a stranger.
    std::function<void(BladeId blade, const std::string& who, const std::string& why)> turned_away;
    /// A blade's agent is there; send() works from now on.
    std::function<void(BladeId blade)> connected;
    std::function<void(BladeId blade)> lost;
    /// Everything but Ping, Pong and answers to ask().
    std::function<void(BladeId blade, const chassis::Envelope& message)> message;
    /// Neither agent nor machine has answered for kSilent (its agent was here before), or, where no blade
    /// answers, for kGone; or its agent again.
    std::function<void(BladeId blade, bool silent)> silent;
    /// The same for kGone, and it does not answer as a neighbour, either; or one of them answers again.
    std::function<void(BladeId blade, bool gone)> gone;
    /// Its agent is connected, and has not said a word for kSilent, whatever its machine does; or it does
    /// again.
    std::function<void(BladeId blade, bool mute)> mute;
};

class Agents {
  public:
    static constexpr std::chrono::milliseconds kWatch{250};  // pings, probes
    static constexpr std::chrono::milliseconds kQuiet{500};  // no word for so long: probe
    // No answer of any kind for so long: nothing new goes there. So long: it is dead, its flows are bound
    // anew. The backplane may be away for a moment, and that must cost no connection.
    static constexpr std::chrono::milliseconds kSilent{1000}, kGone{3000};
    static constexpr std::chrono::milliseconds kSeldom{1000};  // probes of those that are gone
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
    /// each. `left`: other blades that are watched, by where their agents listen. Cannot fail.
    void commit(const Config& config, const std::map<BladeId, HostPort>& left, Prepared prepared);
    void stop();

    /// The way to the blades is through keyrail-dp's ports. While it is away nobody is judged: its time does
    /// not count.
    void within_reach(bool there);
    [[nodiscard]] bool connected(BladeId blade) const;
    [[nodiscard]] size_t count() const;
    /// As AgentEvents::silent (a connection that nobody closed may be left), and gone.
    [[nodiscard]] bool silent(BladeId blade) const;
    [[nodiscard]] bool gone(BladeId blade) const;
    /// The operator says that the blade has no power: it is gone as soon as nothing on it answers for
    /// kSilent. An error: something does, and nothing has changed.
    asio::awaitable<Result<void>> off(BladeId blade);
    /// DER; "" when its agent is not connected.
    [[nodiscard]] std::string certificate(BladeId blade) const;
    /// When it ends; nullopt when its agent is not connected.
    [[nodiscard]] std::optional<std::chrono::system_clock::time_point> certificate_until(BladeId blade) const;
    /// An error when the agent is not connected, or does not read what it is sent.
    Result<void> send(BladeId blade, chassis::Envelope message);
    /// Asks an agent something (Query, List, Purge) and waits for its answer.
    asio::awaitable<Result<chassis::Envelope>> ask(BladeId blade, chassis::Envelope question,
                                                   std::chrono::milliseconds timeout);
    /// The port that is listened on.
    [[nodiscard]] uint16_t port() const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
