// SPDX-License-Identifier: Apache-2.0
/// TCP ports of loopback for servers of tests.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <set>

namespace keyrail::testing {

/// `port`, or 0 when somebody uses it now. 0: the kernel's choice.
inline uint16_t free_port_now(uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    ::close(fd);
    return bound ? ntohs(address.sin_port) : 0;
}

/// `port`, or any (0), when nobody uses it now; else 0. Of any, none twice: who asked first may not use it
/// yet.
inline uint16_t free_port(uint16_t port = 0) {
    static std::set<uint16_t> given;
    if (port != 0) return free_port_now(port);
    for (;;)
        if (port = free_port_now(0); port == 0 || given.insert(port).second) return port;
}

}  // namespace keyrail::testing
