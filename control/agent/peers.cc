// SPDX-License-Identifier: Apache-2.0
#include "control/agent/peers.h"

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

struct Peers::Impl : std::enable_shared_from_this<Peers::Impl> {
    Impl(asio::any_io_executor executor_in, TlsContext tls_in, PeerEvents events_in)
        : executor(std::move(executor_in)), tls(std::move(tls_in)), events(std::move(events_in)) {}

    struct Peer {
        Peer(const asio::any_io_executor& executor, BladeId blade_in, PeerBlade is_in)
            : blade(blade_in), is(std::move(is_in)), pause(executor) {}
        BladeId blade;
        PeerBlade is;
        ChannelPtr channel;
        asio::steady_timer pause;
        Seldom log;
        bool gone = false;  // not configured any more
        std::chrono::steady_clock::time_point tried;
    };
    using PeerPtr = std::shared_ptr<Peer>;

    asio::any_io_executor executor;
    TlsContext tls;
    PeerEvents events;
    std::map<BladeId, PeerPtr> peers;

    asio::awaitable<void> keep(std::shared_ptr<Impl> self, PeerPtr peer);
    asio::awaitable<void> use(PeerPtr peer);
    static void drop(Peer& peer);
};

/// Reads until the connection ends.
asio::awaitable<void> Peers::Impl::use(PeerPtr peer) {
    events.connected(peer->blade);
    for (;;) {
        const auto message = co_await peer->channel->receive();
        if (peer->gone) co_return;
        if (!message) {
            if (const auto times = peer->log.happened("lost"))
                spdlog::warn("peers: {}{}", message.error().message, times_text(*times));
            break;
        }
        events.message(peer->blade, *message);
    }
    peer->channel = nullptr;
    events.lost(peer->blade);
}

asio::awaitable<void> Peers::Impl::keep([[maybe_unused]] std::shared_ptr<Impl> self, PeerPtr peer) {
    Backoff backoff;
    while (!peer->gone) {
        peer->tried = std::chrono::steady_clock::now();
        auto connected =
            co_await connect_channel(executor, tls, peer->is.address, Identity::of_blade(peer->blade));
        if (peer->gone) break;
        if (connected && !peer->is.accepts((*connected)->peer_certificate()))
            connected = fail("{}: its certificate is not good any more", (*connected)->name());
        if (connected) {
            if (peer->log.happened("connected")) spdlog::info("peers: connected to {}", (*connected)->name());
            peer->channel = *connected;
            const auto since = std::chrono::steady_clock::now();
            co_await use(peer);
            // A peer that does not know us hangs up at once; one that does says nothing until it is
            // asked.
            if (std::chrono::steady_clock::now() - since > Backoff::kMax) backoff.reset();
        } else if (const auto times = peer->log.happened("nobody")) {
            spdlog::warn("peers: {}{}; trying on", connected.error().message, times_text(*times));
        }
        asio::error_code ignored;
        peer->pause.expires_after(backoff.next());
        if (!peer->gone) co_await peer->pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

void Peers::Impl::drop(Peer& peer) {
    peer.gone = true;
    if (peer.channel) peer.channel->close();
    peer.pause.cancel();
}

Peers::Peers(asio::any_io_executor executor, TlsContext tls, PeerEvents events)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(tls), std::move(events))) {}

Peers::~Peers() {
    for (auto& [blade, peer] : impl_->peers) Impl::drop(*peer);
}

void Peers::configure(const PeerBlades& blades) {
    for (auto entry = impl_->peers.begin(); entry != impl_->peers.end();) {
        const auto found = blades.find(entry->first);
        Impl::Peer& peer = *entry->second;
        const bool stays = found != blades.end() && found->second.address == peer.is.address &&
                           (!peer.channel || found->second.accepts(peer.channel->peer_certificate()));
        if (stays) peer.is = found->second;
        if (!stays) {
            Impl::drop(*entry->second);
            impl_->events.lost(entry->first);
        }
        entry = stays ? std::next(entry) : impl_->peers.erase(entry);
    }
    for (const auto& [blade, is] : blades) {
        if (impl_->peers.contains(blade)) continue;
        const auto peer = std::make_shared<Impl::Peer>(impl_->executor, blade, is);
        impl_->peers.emplace(blade, peer);
        asio::co_spawn(impl_->executor, impl_->keep(impl_, peer), asio::detached);
    }
}

bool Peers::connected(BladeId blade) const {
    const auto found = impl_->peers.find(blade);
    return found != impl_->peers.end() && found->second->channel && found->second->channel->is_open();
}

void Peers::try_now(BladeId blade) {
    const auto found = impl_->peers.find(blade);
    if (found == impl_->peers.end() || found->second->channel) return;
    if (std::chrono::steady_clock::now() - found->second->tried >= Backoff::kFirst)
        found->second->pause.cancel();
}

Result<void> Peers::send(BladeId blade, chassis::Envelope message) {
    if (connected(blade)) return impl_->peers.at(blade)->channel->send(std::move(message));
    wipe(message);
    return fail("blade {} is not connected", blade);
}

}  // namespace keyrail
