// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/api_stream.h"

#include <openssl/ssl.h>

#include <array>
#include <asio/redirect_error.hpp>
#include <asio/ssl/context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

namespace keyrail {

namespace {
constexpr std::chrono::seconds kEndTimeout{1};
constexpr size_t kMostDrained = size_t{1} << 20;
}  // namespace

ApiStream::ApiStream(Socket socket) : socket_(std::move(socket)), deadline_(socket_.get_executor()) {}

asio::awaitable<void> ApiStream::secure(SSL_CTX* context, asio::error_code& error) {
    SSL_CTX_up_ref(context);
    asio::ssl::context borrowed(context);  // gives it back
    tls_.emplace(socket_, borrowed);
    co_await tls_->async_handshake(asio::ssl::stream_base::server,
                                   asio::redirect_error(asio::use_awaitable, error));
}

SSL* ApiStream::tls() { return tls_ ? tls_->native_handle() : nullptr; }

asio::awaitable<size_t> ApiStream::read_some(asio::mutable_buffer into, asio::error_code& error) {
    size_t got = 0;
    if (tls_)
        got = co_await tls_->async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
    else
        got = co_await socket_.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
    co_return got;
}

asio::awaitable<void> ApiStream::write(std::string_view text, asio::error_code& error) {
    const auto bytes = asio::buffer(text.data(), text.size());
    if (tls_)
        co_await asio::async_write(*tls_, bytes, asio::redirect_error(asio::use_awaitable, error));
    else
        co_await asio::async_write(socket_, bytes, asio::redirect_error(asio::use_awaitable, error));
}

asio::awaitable<void> ApiStream::end() {
    asio::error_code error;
    limit(kEndTimeout);
    if (tls_) {
        co_await tls_->async_shutdown(asio::redirect_error(asio::use_awaitable, error));
        error.clear();
    }
    asio::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    std::array<char, 4096> buffer{};
    for (size_t drained = 0; !error && drained < kMostDrained;)
        drained += co_await socket_.async_read_some(asio::buffer(buffer),
                                                    asio::redirect_error(asio::use_awaitable, error));
}

void ApiStream::limit(std::chrono::steady_clock::duration time) {
    deadline_.expires_after(time);
    deadline_.async_wait([this](const asio::error_code& error) {
        if (!error) close();
    });
}

void ApiStream::close() {
    asio::error_code ignored;
    socket_.close(ignored);
}

}  // namespace keyrail
