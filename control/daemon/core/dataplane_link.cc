// SPDX-License-Identifier: Apache-2.0
// DataplaneLink: one message per packet, both ways.
#include "control/daemon/core/dataplane_link.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/generic/seq_packet_protocol.hpp>
#include <asio/local/stream_protocol.hpp>
#include <deque>
#include <utility>
#include <vector>

#include "control/protocol/channel.h"
#include "control/protocol/replies.h"
#include "link.pb.h"

namespace keyrail {

using Protocol = asio::generic::seq_packet_protocol;

namespace {

void wipe_keys(link::ToDataplane& message) {
    if (!message.has_snapshot()) return;
    const auto wipe = [](std::string& key) { OPENSSL_cleanse(key.data(), key.size()); };
    for (auto& key : *message.mutable_snapshot()->mutable_cookie_keys()) wipe(*key.mutable_key());
    for (auto& key : *message.mutable_snapshot()->mutable_name_keys()) wipe(*key.mutable_key());
}

constexpr int kMaxAtOnce = 256;  // packets, before anybody else has a turn

/// A packet must fit into the socket buffer whole: a snapshot of a full chassis is larger than Linux'
/// default.
void enlarge_buffers(Protocol::socket& socket) {
    const int size = 2 * static_cast<int>(DataplaneLink::kMaxMessage);
    if (setsockopt(socket.native_handle(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        setsockopt(socket.native_handle(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

}  // namespace

struct DataplaneLink::Impl : std::enable_shared_from_this<DataplaneLink::Impl> {
    Impl(const asio::any_io_executor& executor, std::filesystem::path path_in, DataplaneEvents events_in)
        : path(std::move(path_in)),
          events(std::move(events_in)),
          socket(executor),
          retry(executor),
          stats_replies(executor),
          replies(executor),
          input(kMaxMessage) {}

    std::filesystem::path path;
    DataplaneEvents events;
    Protocol::socket socket;
    asio::steady_timer retry;
    Replies<link::Stats> stats_replies;
    Replies<link::FromDataplane> replies;  // numbered by stats_replies, too
    Peer peer;
    std::vector<uint8_t> input;
    std::deque<std::string> queue;  // the front one is being sent while `sending`
    bool sending = false, stopped = false, said = false;
    uint64_t snapshot_request = 0, snapshot_generation = 0;  // the last one sent

    asio::awaitable<void> run(std::shared_ptr<Impl> self);
    asio::awaitable<asio::error_code> connect();
    asio::awaitable<std::string> receive_all();
    void dispatch(const link::FromDataplane& message);
    void push(link::ToDataplane message);
    void send_next();
    void disconnect(const std::string& why);
};

asio::awaitable<asio::error_code> DataplaneLink::Impl::connect() {
    asio::error_code error;
    asio::error_code ignored;
    socket.close(ignored);
    const Protocol::endpoint at{asio::local::stream_protocol::endpoint(path.string())};
    socket.open(at.protocol(), error);
    if (error) co_return error;
    socket.non_blocking(true, error);
    enlarge_buffers(socket);
    co_await socket.async_connect(at, asio::redirect_error(asio::use_awaitable, error));
    co_return error;
}

/// All packets that are there are taken at once, so that the orders that follow from them leave together.
asio::awaitable<std::string> DataplaneLink::Impl::receive_all() {
    asio::error_code error;
    while (true) {
        Channel::write_all();
        co_await socket.async_wait(Protocol::socket::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return error.message();
        for (int i = 0; i < kMaxAtOnce; i++) {
            asio::socket_base::message_flags flags = 0;
            const size_t size = socket.receive(asio::buffer(input), 0, flags, error);
            if (error == asio::error::would_block) break;
            if (error == asio::error::eof || (!error && size == 0)) co_return "it closed the connection";
            if (error) co_return error.message();
            link::FromDataplane message;
            if ((flags & MSG_TRUNC) != 0 || !message.ParseFromArray(input.data(), static_cast<int>(size)))
                co_return "it sent a message that cannot be parsed";
            dispatch(message);
        }
    }
}

asio::awaitable<void> DataplaneLink::Impl::run([[maybe_unused]] std::shared_ptr<Impl> self) {
    while (!stopped) {
        const asio::error_code error = co_await connect();
        if (!error) {
            const std::string why = co_await receive_all();
            disconnect(why);
        } else if (!said) {
            spdlog::warn("dataplane: cannot reach keyrail-dp at {}: {}; trying on", path.string(),
                         error.message());
        }
        said = true;
        asio::error_code ignored;
        retry.expires_after(kRetry);
        co_await retry.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

void DataplaneLink::Impl::disconnect(const std::string& why) {
    if (!stopped) spdlog::warn("dataplane: the link to keyrail-dp is down: {}; connecting again", why);
    asio::error_code ignored;
    socket.close(ignored);
    if (std::exchange(peer, {}).connected && !stopped) events.lost();
    while (queue.size() > (sending ? 1u : 0u)) {
        OPENSSL_cleanse(queue.back().data(), queue.back().size());
        queue.pop_back();
    }
    stats_replies.fail_all(Error{"keyrail-dp is not connected"});
    replies.fail_all(Error{"keyrail-dp is not connected any more"});
}

void DataplaneLink::Impl::dispatch(const link::FromDataplane& message) {
    if (message.request() != 0) replies.deliver(message.request(), message);
    switch (message.body_case()) {
        case link::FromDataplane::kHello:
            peer = {true, message.hello().version(), message.hello().workers(),
                    message.hello().snapshot_generation()};
            spdlog::info("dataplane: connected to keyrail-dp {} with {} workers", peer.version, peer.workers);
            events.connected();
            break;
        case link::FromDataplane::kAccepted:
            if (message.request() == snapshot_request) peer.generation = snapshot_generation;
            break;
        case link::FromDataplane::kRefused:
            spdlog::error("dataplane: keyrail-dp refused {}: {}",
                          message.request() == snapshot_request ? "the snapshot" : "a message",
                          message.refused().reason());
            stats_replies.deliver(message.request(), fail("keyrail-dp: {}", message.refused().reason()));
            break;
        case link::FromDataplane::kMoveRequest:
            events.move(message.move_request());
            break;
        case link::FromDataplane::kStats:
            stats_replies.deliver(message.request(), message.stats());
            break;
        case link::FromDataplane::kFlowAsk:
            events.flow(message.flow_ask());
            break;
        case link::FromDataplane::kExplained:
        case link::FromDataplane::kFlowsFound:
            break;  // whoever asked has it
        case link::FromDataplane::kTraceRecords:
            events.traced(message.trace_records());
            break;
        case link::FromDataplane::BODY_NOT_SET:
            break;  // of a newer keyrail-dp
    }
}

void DataplaneLink::Impl::push(link::ToDataplane message) {
    if (peer.connected && queue.size() < kMaxQueued && message.ByteSizeLong() <= kMaxMessage) {
        if (message.has_snapshot()) {
            snapshot_request = message.request();
            snapshot_generation = message.snapshot().generation();
        }
        queue.push_back(message.SerializeAsString());
        send_next();
    } else if (peer.connected) {
        spdlog::error("dataplane: a message could not be queued ({} waiting); making the link anew",
                      queue.size());
        asio::error_code ignored;
        socket.close(ignored);
    }
    wipe_keys(message);
}

void DataplaneLink::Impl::send_next() {
    if (sending || queue.empty() || !peer.connected) return;
    sending = true;
    socket.async_send(asio::buffer(queue.front()), 0,
                      [self = shared_from_this()](const asio::error_code& error, size_t) {
                          self->sending = false;
                          OPENSSL_cleanse(self->queue.front().data(), self->queue.front().size());
                          self->queue.pop_front();
                          if (error && self->peer.connected) {
                              spdlog::warn("dataplane: sending failed: {}", error.message());
                              asio::error_code ignored;
                              self->socket.close(ignored);
                          }
                          self->send_next();
                      });
}

DataplaneLink::DataplaneLink(asio::any_io_executor executor, std::filesystem::path socket,
                             DataplaneEvents events)
    : impl_(std::make_shared<Impl>(executor, std::move(socket), std::move(events))) {}

DataplaneLink::~DataplaneLink() { stop(); }

void DataplaneLink::start() {
    asio::co_spawn(impl_->socket.get_executor(), impl_->run(impl_), asio::detached);
}

void DataplaneLink::stop() {
    impl_->stopped = true;
    asio::error_code ignored;
    impl_->socket.close(ignored);
    impl_->retry.cancel();
}

const DataplaneLink::Peer& DataplaneLink::peer() const { return impl_->peer; }

void DataplaneLink::send(link::ToDataplane message) {
    if (message.request() == 0) message.set_request(impl_->stats_replies.next());
    impl_->push(std::move(message));
}

asio::awaitable<Result<link::Stats>> DataplaneLink::stats(std::chrono::milliseconds timeout) {
    const std::shared_ptr<Impl> self = impl_;
    if (!self->peer.connected) co_return fail("keyrail-dp is not connected");
    link::ToDataplane question;
    question.mutable_stats_request();
    const uint64_t request = self->stats_replies.next();
    question.set_request(request);
    self->push(std::move(question));
    co_return co_await self->stats_replies.wait(request, "keyrail-dp", timeout);
}

asio::awaitable<Result<link::FromDataplane>> DataplaneLink::ask(link::ToDataplane question,
                                                                std::chrono::milliseconds timeout) {
    const std::shared_ptr<Impl> self = impl_;
    if (!self->peer.connected) co_return fail("keyrail-dp is not connected");
    constexpr size_t kRoomForNumber = 16;
    if (question.ByteSizeLong() + kRoomForNumber > kMaxMessage)
        co_return fail("the question is too long for keyrail-dp");
    const uint64_t request = self->stats_replies.next();
    question.set_request(request);
    self->push(std::move(question));
    co_return co_await self->replies.wait(request, "keyrail-dp", timeout);
}

}  // namespace keyrail
