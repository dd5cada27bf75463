// SPDX-License-Identifier: Apache-2.0
#include "control/agent/arrivals.h"

#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace keyrail {

Arrivals::Arrivals(const IpAddress& dispatcher)
    : dispatcher_(dispatcher),
      socket_(::socket(dispatcher.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (socket_ < 0)
        spdlog::warn("moves: no socket to tell the dispatcher of arrivals: {}; clients wait a little longer",
                     std::strerror(errno));
}

Arrivals::~Arrivals() {
    if (socket_ >= 0) ::close(socket_);
}

/// Not connected: a dispatcher that does not listen (no keyrail-dp there) is none of our business.
void Arrivals::tell(const Arrival& arrival) const {
    if (socket_ < 0 || arrival.port == 0) return;
    const ArrivalBytes bytes = bytes_of(arrival);
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(arrival.port);
    std::memcpy(&v4.sin_addr, dispatcher_.bytes.data(), sizeof v4.sin_addr);
    std::memcpy(&v6.sin6_addr, dispatcher_.bytes.data(), sizeof v6.sin6_addr);
    const bool six = dispatcher_.is_v6();
    const auto* to = six ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    // Lost or not, keyraild hears of it by the usual way.
    (void)::sendto(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL, to, six ? sizeof v6 : sizeof v4);
}

}  // namespace keyrail
