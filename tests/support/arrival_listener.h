// SPDX-License-Identifier: Apache-2.0
// Where agents say that sessions have arrived, as the dispatcher's worker has it: a UDP socket of its own.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <stdexcept>

#include "dataplane/common/arrival.h"

namespace keyrail::testing {

class ArrivalListener {
  public:
    ArrivalListener() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        if (::bind(socket_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
            ::getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
            throw std::runtime_error("no UDP socket on loopback");
        port_ = ntohs(at.sin_port);
    }
    ~ArrivalListener() { ::close(socket_); }
    ArrivalListener(const ArrivalListener&) = delete;
    ArrivalListener& operator=(const ArrivalListener&) = delete;

    [[nodiscard]] uint16_t port() const { return port_; }
    [[nodiscard]] int descriptor() const { return socket_; }
    /// The next one that is there; what is none counts as a fault of the test.
    std::optional<Arrival> take() const {
        std::array<uint8_t, 64> bytes{};
        const ssize_t size = ::recv(socket_, bytes.data(), bytes.size(), 0);
        if (size < 0) return std::nullopt;
        const auto arrival = arrival_of({bytes.data(), static_cast<size_t>(size)});
        if (!arrival) throw std::runtime_error("a datagram that is no arrival");
        return arrival;
    }
    std::optional<Arrival> wait_for_one(int milliseconds) const {
        pollfd wanted{socket_, POLLIN, 0};
        ::poll(&wanted, 1, milliseconds);
        return take();
    }

  private:
    int socket_;
    uint16_t port_ = 0;
};

}  // namespace keyrail::testing
