// SPDX-License-Identifier: Apache-2.0
#include "control/agent/control_session.h"

#include <spdlog/spdlog.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <utility>

#include "chassis.pb.h"
#include "control/agent/backoff.h"
#include "control/protocol/seldom.h"

namespace keyrail {

struct ControlSession::Impl {
    Impl(const asio::any_io_executor& executor_in, TlsContext tls_in, HostPort control_in,
         ControlEvents events_in)
        : executor(executor_in),
          tls(std::move(tls_in)),
          control(control_in),
          events(std::move(events_in)),
          pause(executor) {}

    asio::any_io_executor executor;
    TlsContext tls;
    HostPort control;
    ControlEvents events;
    asio::steady_timer pause;
    ChannelPtr channel;
    bool stopped = false;

    asio::awaitable<void> keep(std::shared_ptr<Impl> self);
    asio::awaitable<bool> use();
};

/// False: the connection ended before a word of keyraild. Anybody with a certificate of the chassis gets that
/// far; only its first message says that it lets us in.
asio::awaitable<bool> ControlSession::Impl::use() {
    const ChannelPtr mine = channel;
    bool let_in = false;
    co_await events.connected(mine);
    for (;;) {
        auto message = co_await mine->receive();
        if (stopped) co_return let_in;
        if (!message) {
            if (let_in) spdlog::warn("control: {}", message.error().message);
            break;
        }
        if (!std::exchange(let_in, true)) spdlog::info("control: connected to {}", mine->name());
        if (!message->has_ping()) {
            events.message(*message);
            wipe(*message);
            continue;
        }
        events.clock(message->ping().tai_ms());
        chassis::Envelope pong;
        pong.set_request(message->request());
        pong.mutable_pong();
        (void)mine->send(std::move(pong));  // a channel that is broken shows in receive()
    }
    channel = nullptr;
    co_return let_in;
}

asio::awaitable<void> ControlSession::Impl::keep([[maybe_unused]] std::shared_ptr<Impl> self) {
    static const std::string kAway = "turned away", kNobody = "nobody";
    Backoff backoff;
    Seldom log;
    while (!stopped) {
        auto connected = co_await connect_channel(executor, tls, control, Identity::control());
        if (stopped) break;
        auto longest = Backoff::kMax;
        if (connected) {
            channel = *connected;
            if (co_await use()) {
                backoff.reset();
                log = {};
            } else {
                longest = Backoff::kMaxTurnedAway;
                if (const auto times = log.happened(kAway); times && !stopped)
                    spdlog::warn(
                        "control: {} turns this blade away{}: it was revoked, or is not in keyraild's "
                        "configuration; keyraild's log says which; trying on",
                        (*connected)->name(), times_text(*times));
            }
        } else if (const auto times = log.happened(kNobody)) {
            spdlog::warn("control: {}{}; trying on", connected.error().message, times_text(*times));
        }
        asio::error_code ignored;
        pause.expires_after(backoff.next(longest));
        if (!stopped) co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

ControlSession::ControlSession(asio::any_io_executor executor, TlsContext tls, HostPort control,
                               ControlEvents events)
    : impl_(std::make_shared<Impl>(executor, std::move(tls), control, std::move(events))) {
    asio::co_spawn(executor, impl_->keep(impl_), asio::detached);
}

ControlSession::~ControlSession() {
    impl_->stopped = true;
    impl_->pause.cancel();
    reconnect();
}

void ControlSession::send(chassis::Envelope message) {
    if (impl_->channel == nullptr) return wipe(message);
    if (auto sent = impl_->channel->send(std::move(message)); !sent)
        spdlog::warn("control: {}", sent.error().message);
}

bool ControlSession::connected() const { return impl_->channel && impl_->channel->is_open(); }

void ControlSession::reconnect() {
    if (impl_->channel) impl_->channel->close();
}

}  // namespace keyrail
