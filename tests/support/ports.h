// SPDX-License-Identifier: Apache-2.0
/// TCP ports of loopback for servers of tests.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

namespace keyrail::testing {

/// `port`, or any (0), when nobody uses it now; else 0.
inline uint16_t free_port(uint16_t port = 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    ::close(fd);
    return bound ? ntohs(address.sin_port) : 0;
}

}  // namespace keyrail::testing
