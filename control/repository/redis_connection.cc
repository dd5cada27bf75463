// SPDX-License-Identifier: Apache-2.0
#include "control/repository/redis_connection.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>

#include "control/protocol/tls_context.h"

namespace keyrail {

namespace {

using asio::ip::tcp;

constexpr size_t kMaxPending = size_t{16} << 20;  // bytes of one reply that a server may have us keep

/// A connected socket whose reads and writes end after kRedisTimeout; -1 and errno otherwise.
int connected_socket(const HostPort& to) {
    asio::error_code error;
    const tcp::endpoint endpoint{asio::ip::make_address(to.address.text(), error), to.port};
    const int fd = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(kRedisTimeout).count();
    const timeval limit{us / 1'000'000, us % 1'000'000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // bounds connect(), too: socket(7)
    if (::connect(fd, endpoint.data(), static_cast<socklen_t>(endpoint.size())) == 0) return fd;
    const int why = errno == EINPROGRESS ? ETIMEDOUT : errno;
    ::close(fd);
    errno = why;
    return -1;
}

}  // namespace

std::string_view text_of(const redisReply& reply) {
    return reply.str == nullptr ? std::string_view{} : std::string_view{reply.str, reply.len};
}

bool is_error(const redisReply& reply, std::string_view prefix) {
    return reply.type == REDIS_REPLY_ERROR && text_of(reply).starts_with(prefix);
}

Result<void> RedisConnection::handshake(const HostPort& to, SSL_CTX* tls) {
    BIO* secured = BIO_new_ssl(tls, 1);
    if (secured == nullptr) return fail("redis {}: {}", to_, openssl_reason());
    stream_.reset(BIO_push(secured, stream_.release()));
    SSL* ssl = nullptr;
    BIO_get_ssl(secured, &ssl);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), to.address.text().c_str());
    if (BIO_do_handshake(secured) == 1) return {};
    const long verified = SSL_get_verify_result(ssl);
    if (verified != X509_V_OK)
        return fail(
            "redis {}: its certificate is refused: {}; [redis] ca must have signed it, for this address", to_,
            X509_verify_cert_error_string(verified));
    return fail("redis {}: no TLS: {}", to_, openssl_reason());
}

Result<void> RedisConnection::authenticate(const RedisAccess& access) {
    if (access.password.empty()) return {};
    RedisCommand words{"AUTH"};
    if (!access.user.empty()) words.push_back(access.user);
    words.push_back(access.password);
    auto replies = run({&words, 1});
    for (std::string& word : words) OPENSSL_cleanse(word.data(), word.size());
    if (!replies) return tl::make_unexpected(replies.error());
    if (is_error(*replies->front())) return fail("redis {}: {}", to_, text_of(*replies->front()));
    return {};
}

Result<void> RedisConnection::connect(const HostPort& to, const RedisAccess& access) {
    const int fd = connected_socket(to);
    if (fd < 0) return fail("redis {}: {}", to_, std::strerror(errno));
    stream_.reset(BIO_new_socket(fd, BIO_CLOSE));
    if (access.tls)
        if (auto secured = handshake(to, access.tls.get()); !secured) return secured;
    return authenticate(access);
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::open(const HostPort& to,
                                                               const RedisAccess& access) {
    std::unique_ptr<RedisConnection> connection(new RedisConnection(to.text()));
    if (auto connected = connection->connect(to, access); !connected)
        return tl::make_unexpected(connected.error());
    return connection;
}

Result<RedisReply> RedisConnection::read_reply() {
    std::array<char, 16384> bytes;
    size_t pending = 0;
    for (;;) {
        void* reply = nullptr;
        if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK)
            return fail("redis {}: what it says is no Redis: {}", to_, reader_->errstr);
        if (reply != nullptr) return RedisReply(static_cast<redisReply*>(reply));
        const int got = BIO_read(stream_.get(), bytes.data(), bytes.size());
        if (got <= 0)
            return fail("redis {}: the connection broke, or no answer in {} ms", to_, kRedisTimeout.count());
        if ((pending += static_cast<size_t>(got)) > kMaxPending)
            return fail("redis {}: it answers too much", to_);
        redisReaderFeed(reader_.get(), bytes.data(), static_cast<size_t>(got));
    }
}

Result<std::vector<RedisReply>> RedisConnection::run(std::span<const RedisCommand> commands) {
    std::string out;
    for (const RedisCommand& words : commands) {
        std::vector<const char*> texts;
        std::vector<size_t> sizes;
        for (const std::string& word : words) {
            texts.push_back(word.data());
            sizes.push_back(word.size());
        }
        char* formatted = nullptr;
        const long long size =  // an int before hiredis 1.1
            redisFormatCommandArgv(&formatted, static_cast<int>(words.size()), texts.data(), sizes.data());
        if (size < 0) return fail("redis {}: out of memory", to_);
        out.append(formatted, static_cast<size_t>(size));
        redisFreeCommand(formatted);
    }
    size_t written = 0;
    const bool sent =
        BIO_write_ex(stream_.get(), out.data(), out.size(), &written) == 1 && written == out.size();
    OPENSSL_cleanse(out.data(), out.size());  // AUTH
    if (!sent) return fail("redis {}: the connection broke", to_);
    std::vector<RedisReply> replies;
    while (replies.size() < commands.size()) {
        auto reply = read_reply();
        if (!reply) return tl::make_unexpected(reply.error());
        replies.push_back(std::move(*reply));
    }
    return replies;
}

}  // namespace keyrail
