// SPDX-License-Identifier: Apache-2.0
// A TLS client for tests: one connection with one HTTP request, with a session or without, and what came of
// it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "dataplane/common/name_bytes.h"

namespace keyrail::testing {

using SessionPtr = std::shared_ptr<SSL_SESSION>;

struct Visit {
    bool served = false;  // the whole answer came
    bool resumed = false;
    SessionPtr session;   // to come back with
    std::string problem;  // why it was not served

    /// What the hooks call it: the ticket, or its beginning in TLS 1.2.
    [[nodiscard]] SessionName name() const {
        const unsigned char* ticket = nullptr;
        size_t size = 0;
        SSL_SESSION_get0_ticket(session.get(), &ticket, &size);
        SessionName name{};
        if (size >= name.size()) std::memcpy(name.data(), ticket, name.size());
        return name;
    }
};

namespace tls_client {

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Connection = std::unique_ptr<SSL, decltype(&SSL_free)>;

/// Every step of a connection gives up after this.
inline constexpr timeval kTimeout{5, 0};

inline int open_socket(const std::string& address, uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof kTimeout);
    const int at_once = 1;  // the client's last flight and its request are two writes
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
    ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
    ::close(fd);
    return -1;
}

inline std::string problem(const std::string& what) {
    const int number = errno;
    char text[256] = "";
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    return what + ": " + std::strerror(number) + ", " + text;
}

/// To the end of the connection: TLS 1.3 tickets have come then, too.
inline std::string read_all(SSL* ssl) {
    std::string text;
    char buffer[4096];
    for (int size; (size = SSL_read(ssl, buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<size_t>(size));
    return text;
}

inline Visit talk(SSL* ssl) {
    constexpr std::string_view kRequest = "GET / HTTP/1.0\r\n\r\n";
    Visit visit;
    errno = 0;
    if (SSL_connect(ssl) != 1) {
        visit.problem = problem("handshake");
        return visit;
    }
    visit.resumed = SSL_session_reused(ssl) == 1;
    SSL_write(ssl, kRequest.data(), static_cast<int>(kRequest.size()));
    const std::string answer = read_all(ssl);
    visit.served = answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok");
    if (!visit.served) visit.problem = problem("answer '" + answer + "'");
    visit.session = {SSL_get1_session(ssl), SSL_SESSION_free};
    SSL_shutdown(ssl);
    return visit;
}

}  // namespace tls_client

/// `version`: TLS1_2_VERSION or TLS1_3_VERSION. The server's certificate is not looked at.
inline Visit visit(const std::string& address, uint16_t port, int version, const SessionPtr& offered) {
    using namespace tls_client;
    const Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_min_proto_version(context.get(), version);
    SSL_CTX_set_max_proto_version(context.get(), version);
    const int fd = open_socket(address, port);
    if (fd < 0) return {false, false, nullptr, problem("connect")};
    const Connection connection(SSL_new(context.get()), SSL_free);
    SSL_set_fd(connection.get(), fd);
    // A copy: OpenSSL marks the one that it used.
    if (offered)
        SSL_set_session(connection.get(), SessionPtr(SSL_SESSION_dup(offered.get()), SSL_SESSION_free).get());
    Visit result = talk(connection.get());
    ::close(fd);
    return result;
}

}  // namespace keyrail::testing
