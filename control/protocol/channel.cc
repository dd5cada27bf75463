// SPDX-License-Identifier: Apache-2.0
// Channel: framing, the bounded send queue, and the two ways to open one. What is sent while that is handled
// which arrived together, or while a write is under way, goes out in one write; what arrives together is read
// in one read.
#include "control/protocol/channel.h"

#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <array>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <utility>
#include <vector>

#include "chassis.pb.h"
#include "control/protocol/openssl_ptr.h"
#include "control/protocol/secret_buffer.h"

namespace keyrail {

using asio::ip::tcp;
using std::chrono::milliseconds;

namespace {

constexpr size_t kLengthSize = 4;
constexpr size_t kReadSize = 17'408;  // a TLS record at most
/// What is read beyond the message that is waited for: as much as fits into the buffer that a channel keeps.
constexpr size_t kReadAhead = SecretBuffer::kKept - kReadSize;

void wipe(std::string& secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

/// asio's stream wants an asio context; ours belongs to TlsContext, so it borrows a reference.
asio::ssl::context borrow(const TlsContext& tls) {
    SSL_CTX_up_ref(tls.native());
    return asio::ssl::context(tls.native());
}

tcp::endpoint endpoint_of(const HostPort& at) {
    asio::error_code ignored;
    return {asio::ip::make_address(at.address.text(), ignored), at.port};
}

std::string text_of(const tcp::endpoint& at) {
    const auto address = at.address();
    return address.is_v6() ? fmt::format("[{}]:{}", address.to_string(), at.port())
                           : fmt::format("{}:{}", address.to_string(), at.port());
}

size_t length_of(std::span<const uint8_t> header) {
    size_t length = 0;
    for (const uint8_t byte : header.first(kLengthSize)) length = length << 8 | byte;
    return length;
}

/// A peer that is gone without a word is noticed in about 6 s, whether data are under way or not.
void tune(tcp::socket& socket) {
    asio::error_code ignored;
    socket.non_blocking(true, ignored);
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    const int fd = socket.native_handle();
    const int idle_s = 3, interval_s = 1, probes = 3, user_timeout_ms = 6000;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
}

}  // namespace

namespace {
/// Channels of this thread whose write is posted.
thread_local std::vector<std::weak_ptr<Channel::Impl>> unwritten;
}  // namespace

struct Channel::Impl : std::enable_shared_from_this<Channel::Impl> {
    Impl(tcp::socket socket, asio::ssl::context context_in)
        : context(std::move(context_in)),
          stream(std::move(socket), context),
          has_room(stream.get_executor()) {
        has_room.expires_at(asio::steady_timer::time_point::max());
        // asio has OpenSSL free its buffers of 17 KB after each record, and wipe them whole before: a
        // twentieth of what a lone message costs (perf). A channel lives long; what was in a record is wiped
        // in any case (tls_context.cc).
        SSL_clear_mode(stream.native_handle(), SSL_MODE_RELEASE_BUFFERS);
    }

    asio::ssl::context context;
    asio::ssl::stream<tcp::socket> stream;
    Identity peer;
    CertificateInfo peer_certificate;
    bool admits_strangers = false;
    std::string name;  // "10.77.0.13:7401" until the peer is known, then "blade 3 at 10.77.0.13:7401"
    bool open = true, finishing = false, timed_out = false;
    bool writing = false, posted = false;  // posted: nothing is under way yet, but will be
    SecretBuffer input, queue;             // frames
    SecretBuffer output;                   // frames being written; asio's while `writing`
    asio::steady_timer has_room;           // cancelled when there is some: a condition variable

    asio::awaitable<Result<void>> handshake(asio::ssl::stream_base::handshake_type side);
    asio::awaitable<Result<chassis::Envelope>> receive(std::shared_ptr<Impl> self);
    [[nodiscard]] Result<bool> has_frame() const;
    [[nodiscard]] size_t missing() const;
    [[nodiscard]] bool has_more();
    Result<chassis::Envelope> take_frame();
    [[nodiscard]] size_t queued() const { return queue.size() + output.size(); }
    void write_soon();
    void write_posted();
    void write();
    void close();
    [[nodiscard]] std::string explain(const asio::error_code& error, bool inside_frame) const;
};

// --- opening ---

namespace {

using ImplPtr = std::shared_ptr<Channel::Impl>;

/// Closes a connection that is not ready in time.
class Deadline {
  public:
    Deadline(const ImplPtr& impl, milliseconds timeout) : timer_(impl->stream.get_executor(), timeout) {
        timer_.async_wait([weak = std::weak_ptr(impl)](const asio::error_code& error) {
            const ImplPtr late = weak.lock();
            if (error || !late) return;
            late->timed_out = true;
            late->close();
        });
    }

  private:
    asio::steady_timer timer_;
};

}  // namespace

asio::awaitable<Result<void>> Channel::Impl::handshake(asio::ssl::stream_base::handshake_type side) {
    asio::error_code error;
    co_await stream.async_handshake(side, asio::redirect_error(asio::use_awaitable, error));
    if (timed_out) co_return fail("{}: no TLS handshake in time; is it a keyrail process?", name);
    if (error) co_return fail("{}: {}", name, explain(error, false));
    const CertificatePtr certificate(SSL_get1_peer_certificate(stream.native_handle()));
    if (!certificate && !admits_strangers) co_return fail("{}: it showed no certificate", name);
    const auto who = certificate ? identity_of(certificate.get()) : Identity::stranger();
    if (!who) co_return fail("{}: {}", name, who.error().message);
    peer = *who;
    if (certificate) peer_certificate = info_of(certificate.get());
    name = fmt::format("{} at {}", peer.text(), name);
    co_return Result<void>{};
}

asio::awaitable<Result<ChannelPtr>> connect_channel(asio::any_io_executor executor, TlsContext tls,
                                                    HostPort to, Identity expected, milliseconds timeout) {
    const auto impl = std::make_shared<Channel::Impl>(tcp::socket(executor), borrow(tls));
    impl->name = fmt::format("{} at {}", expected.text(), to.text());
    const Deadline deadline(impl, timeout);
    asio::error_code error;
    co_await impl->stream.lowest_layer().async_connect(endpoint_of(to),
                                                       asio::redirect_error(asio::use_awaitable, error));
    if (impl->timed_out) co_return fail("{}: no answer; is the machine up?", impl->name);
    if (error) co_return fail("{}: {}", impl->name, error.message());
    tune(impl->stream.next_layer());
    impl->name = to.text();
    const auto shaken = co_await impl->handshake(asio::ssl::stream_base::client);
    if (!shaken) co_return tl::make_unexpected(shaken.error());
    if (impl->peer != expected)
        co_return fail("{}: is {}, expected {}; check addresses and certificates", to.text(),
                       impl->peer.text(), expected.text());
    co_return std::make_shared<Channel>(impl);
}

asio::awaitable<Result<ChannelPtr>> accept_channel(tcp::socket socket, TlsContext tls, Strangers strangers,
                                                   milliseconds timeout) {
    asio::error_code error;
    const tcp::endpoint from = socket.remote_endpoint(error);
    if (error) co_return fail("a connection that ended at once: {}", error.message());
    tune(socket);
    const auto impl = std::make_shared<Channel::Impl>(std::move(socket), borrow(tls));
    impl->name = text_of(from);
    impl->admits_strangers = strangers == Strangers::admitted;
    if (impl->admits_strangers) SSL_set_verify(impl->stream.native_handle(), SSL_VERIFY_PEER, nullptr);
    const Deadline deadline(impl, timeout);
    const auto shaken = co_await impl->handshake(asio::ssl::stream_base::server);
    if (!shaken) co_return tl::make_unexpected(shaken.error());
    co_return std::make_shared<Channel>(impl);
}

// --- receiving ---

std::string Channel::Impl::explain(const asio::error_code& error, bool inside_frame) const {
    if (!open) return "closed here";
    const bool ended = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
    if (ended)
        return inside_frame ? "the connection ended in the middle of a message" : "closed the connection";
    const long verify =
        SSL_get_verify_result(const_cast<asio::ssl::stream<tcp::socket>&>(stream).native_handle());
    if (verify != X509_V_OK)
        return fmt::format("its certificate is not accepted: {}", X509_verify_cert_error_string(verify));
    if (error.category() == asio::error::get_ssl_category()) {
        const int reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
        if (reason == SSL_R_NO_APPLICATION_PROTOCOL || reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL)
            return "no protocol version that both know; install releases that are closer to each other";
        if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) return "it showed no certificate";
        if (reason > SSL_AD_REASON_OFFSET) return fmt::format("it refused us: {}", error.message());
        return fmt::format("TLS failed: {}", error.message());
    }
    return error.message();
}

Result<bool> Channel::Impl::has_frame() const {
    if (input.size() < kLengthSize) return false;
    const size_t length = length_of(input.bytes());
    if (length > kMaxFrame) return fail("{}: a message of {} bytes (at most {})", name, length, kMaxFrame);
    return input.size() >= kLengthSize + length;
}

Result<chassis::Envelope> Channel::Impl::take_frame() {
    chassis::Envelope message;
    const size_t length = length_of(input.bytes());
    const bool good = message.ParseFromArray(input.bytes().data() + kLengthSize, static_cast<int>(length));
    input.consume(kLengthSize + length);
    if (!good) return fail("{}: a message that cannot be parsed", name);
    if (message.version() != kProtocolVersion)
        return fail(
            "{}: protocol version {}, here {}; install the same release of keyrail on the whole chassis",
            name, message.version(), kProtocolVersion);
    return message;
}

/// Bytes of the frame that is being received.
size_t Channel::Impl::missing() const {
    if (input.size() < kLengthSize) return kLengthSize - input.size();
    return kLengthSize + std::min(length_of(input.bytes()), kMaxFrame) - std::min(input.size(), kMaxFrame);
}

/// Records that were read from the socket together with the last one. (Asking the socket, which is mostly in
/// vain, would be a system call for each message.)
bool Channel::Impl::has_more() {
    SSL* const tls = stream.native_handle();
    return SSL_pending(tls) > 0 || BIO_pending(SSL_get_rbio(tls)) > 0;
}

/// A record has come: whatever else is there already comes with it, so that what arrives together is handled,
/// and answered, together.
asio::awaitable<Result<chassis::Envelope>> Channel::Impl::receive(
    [[maybe_unused]] std::shared_ptr<Impl> self) {
    Result<bool> whole = has_frame();
    while (whole && !*whole) {
        write_all();  // answers leave before we look for more, which is mostly in vain
        std::span<uint8_t> room = input.room(std::max(missing(), kReadSize));
        asio::error_code error;
        input.commit(co_await stream.async_read_some(asio::buffer(room.data(), room.size()),
                                                     asio::redirect_error(asio::use_awaitable, error)));
        while (!error && input.size() < kReadAhead && has_more()) {
            room = input.room(std::max(missing(), kReadSize));
            input.commit(stream.read_some(asio::buffer(room.data(), room.size()), error));
        }
        whole = has_frame();  // what came before an end is read first
        if (whole && !*whole && error && error != asio::error::would_block)
            whole = fail("{}: {}", name, explain(error, !input.empty()));
    }
    auto message = whole ? take_frame() : Result<chassis::Envelope>(tl::make_unexpected(whole.error()));
    if (!message) close();
    co_return message;
}

// --- sending ---

/// Not at once: other messages may follow before this handler is over.
void Channel::Impl::write_soon() {
    if (writing) return;
    writing = posted = true;
    unwritten.push_back(weak_from_this());
    asio::post(stream.get_executor(), [self = shared_from_this()] { write_all(); });
}

void Channel::Impl::write_posted() {
    if (std::exchange(posted, false)) write();
}

void Channel::Impl::write() {
    writing = false;
    if (queue.empty() && finishing) close();
    if (queue.empty() || !open) return;
    writing = true;
    output.swap(queue);
    asio::async_write(stream, asio::buffer(output.bytes().data(), output.size()),
                      [self = shared_from_this()](const asio::error_code& error, size_t) {
                          self->output.clear();
                          if (self->queued() <= kMaxQueuedBytes / 2) self->has_room.cancel();
                          if (error) self->close();
                          self->write();
                      });
}

void Channel::Impl::close() {
    if (open) {
        open = false;
        asio::error_code ignored;
        stream.next_layer().shutdown(tcp::socket::shutdown_both, ignored);
        stream.next_layer().close(ignored);
    }
    queue.clear();
    has_room.cancel();
}

// --- the handle ---

Channel::Channel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Channel::~Channel() { impl_->close(); }
const Identity& Channel::peer() const { return impl_->peer; }
const CertificateInfo& Channel::peer_certificate() const { return impl_->peer_certificate; }
const std::string& Channel::name() const { return impl_->name; }
void Channel::write_all() {
    for (size_t i = 0; i < unwritten.size(); i++)
        if (const auto channel = unwritten[i].lock()) channel->write_posted();
    unwritten.clear();
}
asio::awaitable<Result<chassis::Envelope>> Channel::receive() { return impl_->receive(impl_); }
void Channel::close() { impl_->close(); }
bool Channel::is_open() const { return impl_->open && !impl_->finishing; }
size_t Channel::queued_bytes() const { return impl_->queued(); }

Result<void> Channel::send(chassis::Envelope message) {
    Impl& self = *impl_;
    message.set_version(kProtocolVersion);
    const size_t size = message.ByteSizeLong();
    Result<void> result;
    if (!is_open()) {
        result = fail("{}: the connection is closed", self.name);
    } else if (size > kMaxFrame) {
        result =
            fail("{}: a message of {} bytes is too large to send (at most {})", self.name, size, kMaxFrame);
    } else if (self.queued() + size + kLengthSize > kMaxQueuedBytes) {
        result = fail("{}: does not read what it is sent ({} bytes are waiting)", self.name, self.queued());
    } else {
        uint8_t* frame = self.queue.room(kLengthSize + size).data();
        for (size_t i = 0; i < kLengthSize; i++)
            frame[i] = static_cast<uint8_t>(size >> (8 * (kLengthSize - 1 - i)));
        message.SerializeWithCachedSizesToArray(frame + kLengthSize);
        self.queue.commit(kLengthSize + size);
        self.write_soon();
    }
    keyrail::wipe(message);
    return result;
}

asio::awaitable<void> Channel::room() {
    const std::shared_ptr<Impl> self = impl_;
    while (self->open && self->queued() > kMaxQueuedBytes / 2) {
        asio::error_code ignored;
        co_await self->has_room.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

void Channel::finish() {
    impl_->finishing = true;
    impl_->write_soon();
}

void wipe(chassis::Envelope& message) {
    if (message.has_transfer()) wipe(*message.mutable_transfer()->mutable_record()->mutable_session_der());
    if (message.has_certificate_request())
        wipe(*message.mutable_certificate_request()->mutable_token_secret());
    if (!message.has_keys()) return;
    for (auto& key : *message.mutable_keys()->mutable_cookie_keys()) wipe(*key.mutable_key());
    for (auto& key : *message.mutable_keys()->mutable_name_keys()) wipe(*key.mutable_key());
}

}  // namespace keyrail
