// SPDX-License-Identifier: Apache-2.0
// A client's connection, plain or TLS, and how long it may take. One thread.
#pragma once

#include <openssl/types.h>

#include <asio/awaitable.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string_view>

namespace keyrail {

class ApiStream {
  public:
    using Socket = asio::generic::stream_protocol::socket;

    explicit ApiStream(Socket socket);
    ApiStream(const ApiStream&) = delete;
    ApiStream& operator=(const ApiStream&) = delete;

    /// TLS from here on, as its server. The context may go afterwards.
    asio::awaitable<void> secure(SSL_CTX* context, asio::error_code& error);
    /// Of a TLS connection; else null.
    [[nodiscard]] SSL* tls();
    [[nodiscard]] int handle() { return socket_.native_handle(); }
    [[nodiscard]] bool is_open() const { return socket_.is_open(); }

    asio::awaitable<size_t> read_some(asio::mutable_buffer into, asio::error_code& error);
    asio::awaitable<void> write(std::string_view text, asio::error_code& error);
    /// Says that no more comes, and reads on until the client has gone too, or has sent too much: one that
    /// still sends would be reset, and not read what was written.
    asio::awaitable<void> end();

    /// From now on this long; then it is closed.
    void limit(std::chrono::steady_clock::duration time);
    void no_limit() { deadline_.cancel(); }
    void close();

  private:
    Socket socket_;
    std::optional<asio::ssl::stream<Socket&>> tls_;
    asio::steady_timer deadline_;
};

}  // namespace keyrail
