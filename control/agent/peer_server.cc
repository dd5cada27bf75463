// SPDX-License-Identifier: Apache-2.0
#include "control/agent/peer_server.h"

#include <spdlog/spdlog.h>

#include <set>

#include "chassis.pb.h"
#include "control/protocol/seldom.h"

namespace keyrail {

struct PeerServer::Impl {
    BladeId self = 0;
    Answer answer;
    PeerBlades blades;
    bool configured = false;        // until keyraild has said which blades there are, any of the CA's is one
    std::set<ChannelPtr> channels;  // being served
    bool stopped = false;
    Seldom log;

    asio::awaitable<void> serve(std::shared_ptr<Impl> alive, ChannelPtr channel);
    /// The blade is known, but this is not a certificate of it that is good.
    [[nodiscard]] bool outdated(const Channel& channel) const;
    void take(const ChannelPtr& channel, chassis::Envelope& message) const;
    void turned_away(const std::string& what, const std::string& text);
};

bool PeerServer::Impl::outdated(const Channel& channel) const {
    const auto known = blades.find(channel.peer().blade);
    return known != blades.end() ? !known->second.accepts(channel.peer_certificate()) : configured;
}

/// `what`: without the port, which is another one each time.
void PeerServer::Impl::turned_away(const std::string& what, const std::string& text) {
    if (const auto times = log.happened(what))
        spdlog::warn("peers: not let in{}: {}", times_text(*times), text);
}

void PeerServer::Impl::take(const ChannelPtr& channel, chassis::Envelope& message) const {
    chassis::Envelope reply = answer(channel, message);
    if (message.has_ping()) reply.mutable_pong();
    reply.set_request(message.request());
    wipe(message);
    if (reply.body_case() == chassis::Envelope::BODY_NOT_SET) return;
    if (auto sent = channel->send(std::move(reply)); !sent) spdlog::warn("peers: {}", sent.error().message);
}

asio::awaitable<void> PeerServer::Impl::serve([[maybe_unused]] std::shared_ptr<Impl> alive,
                                              ChannelPtr channel) {
    if (stopped) co_return;
    if (!channel->peer().is_blade() || channel->peer().blade == self) {
        turned_away(channel->peer().text(),
                    fmt::format("{}: only other blades send sessions", channel->name()));
        co_return;
    }
    if (outdated(*channel)) {
        turned_away(channel->peer().text() + " outdated",
                    fmt::format("{}: it is no blade of this chassis, or its certificate is not good any more",
                                channel->name()));
        co_return;
    }
    channels.insert(channel);
    for (;;) {
        auto message = co_await channel->receive();
        if (stopped) co_return;
        if (!message) {
            spdlog::info("peers: {}", message.error().message);
            channels.erase(channel);
            co_return;
        }
        take(channel, *message);
    }
}

PeerServer::PeerServer(std::shared_ptr<Impl> impl, std::shared_ptr<Listener> listener)
    : impl_(std::move(impl)), listener_(std::move(listener)) {}

PeerServer::~PeerServer() {
    impl_->stopped = true;
    listener_->close();
    for (const ChannelPtr& channel : impl_->channels) channel->close();
}

void PeerServer::configure(PeerBlades blades) {
    impl_->blades = std::move(blades);
    impl_->configured = true;
    for (const ChannelPtr& channel : impl_->channels) {
        if (impl_->blades.contains(channel->peer().blade) && !impl_->outdated(*channel)) continue;
        spdlog::warn("peers: {} is cut off: it is no blade of this chassis any more", channel->name());
        channel->close();
    }
}

Result<std::unique_ptr<PeerServer>> PeerServer::open(asio::any_io_executor executor, TlsContext tls,
                                                     const HostPort& at, BladeId self, Answer answer) {
    const auto impl = std::make_shared<Impl>();
    impl->self = self;
    impl->answer = std::move(answer);
    auto listener = Listener::open(
        std::move(executor), std::move(tls), at,
        [impl](ChannelPtr channel) { return impl->serve(impl, std::move(channel)); },
        [impl](const Error& error) { impl->turned_away("somebody", error.message); });
    if (!listener) return tl::make_unexpected(listener.error());
    return std::unique_ptr<PeerServer>(new PeerServer(impl, *listener));
}

}  // namespace keyrail
