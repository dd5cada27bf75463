// SPDX-License-Identifier: Apache-2.0
// Channel: one mutual-TLS-1.3 connection that carries chassis.Envelope frames (README.md: wire format,
// threats). keyraild <-> keyrail-agent and keyrail-agent <-> keyrail-agent. No locks: a Channel lives on the
// one thread that runs its io_context, and all calls come from there.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "control/protocol/identity.h"
#include "control/protocol/tls_context.h"
#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class Envelope;
}

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr size_t kMaxFrame = size_t{1} << 20;        // bytes of one serialized Envelope
inline constexpr size_t kMaxQueuedBytes = size_t{4} << 20;  // unsent, per channel
inline constexpr std::chrono::milliseconds kHandshakeTimeout{3000};

class Channel {
  public:
    struct Impl;
    explicit Channel(std::shared_ptr<Impl> impl);
    /// Closes at once. A receive() that is still waiting ends with an error.
    ~Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    /// Who the peer is, by its certificate.
    [[nodiscard]] const Identity& peer() const;
    /// Nothing in it for a stranger.
    [[nodiscard]] const CertificateInfo& peer_certificate() const;
    /// For messages: "blade 3 at 10.77.0.13:7401".
    [[nodiscard]] const std::string& name() const;

    /// The next message; one receive() at a time. An error ends the channel: it is closed, and the text says
    /// who and why. A message of a newer peer that we do not know arrives with body_case() == BODY_NOT_SET:
    /// ignore it.
    [[nodiscard]] asio::awaitable<Result<chassis::Envelope>> receive();

    /// Queues a message; `version` is filled in, its secrets are wiped. Never waits. Errors: the channel is
    /// closed, the message is larger than kMaxFrame, or the queue is full (the peer reads too slowly; nothing
    /// was queued, the channel stays open).
    Result<void> send(chassis::Envelope message);

    /// What was sent on channels of this thread leaves now, not only when the handler that runs is over.
    /// Before receive() looks for more it does so itself; others that wait for the next event may.
    static void write_all();

    /// Waits until at least half of the queue is free, or the channel is closed. For bulk senders.
    [[nodiscard]] asio::awaitable<void> room();

    /// Closes at once; what is queued is lost. Idempotent.
    void close();
    /// Sends what is queued, then closes. send() is refused from now on.
    void finish();
    [[nodiscard]] bool is_open() const;
    [[nodiscard]] size_t queued_bytes() const;

  private:
    std::shared_ptr<Impl> impl_;
};

using ChannelPtr = std::shared_ptr<Channel>;

/// Connects to `to` and demands that `expected` answers there. Note (RFC 8446, section 4.4.2.4 and 6): the
/// connecting side is done before the other one has looked at our certificate, so a refusal of it shows up in
/// the first receive(). Pass named variables: g++ 12 destroys brace-made temporaries in a co_await expression
/// twice.
[[nodiscard]] asio::awaitable<Result<ChannelPtr>> connect_channel(
    asio::any_io_executor executor, TlsContext tls, HostPort to, Identity expected,
    std::chrono::milliseconds timeout = kHandshakeTimeout);

/// May who connects do without a certificate? It is a stranger then.
enum class Strangers : uint8_t { refused, admitted };

/// The accepting side of the same; what the peer may do, the caller decides by peer().
[[nodiscard]] asio::awaitable<Result<ChannelPtr>> accept_channel(
    asio::ip::tcp::socket socket, TlsContext tls, Strangers strangers = Strangers::refused,
    std::chrono::milliseconds timeout = kHandshakeTimeout);

/// Overwrites the secrets that a message carries (Keys, Transfer, CertificateRequest). Call it before a
/// message with secrets goes away.
void wipe(chassis::Envelope& message);

}  // namespace keyrail
