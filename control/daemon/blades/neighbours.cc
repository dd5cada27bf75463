// SPDX-License-Identifier: Apache-2.0
// Is a blade's machine there: does it answer TCP, does it answer as a neighbour?
#include "control/daemon/blades/neighbours.h"

#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

namespace keyrail {

using asio::ip::tcp;

namespace {

struct Message {
    nlmsghdr header{};
    ndmsg body{};
    std::array<uint8_t, 32> attributes{};

    Message(uint16_t type, uint16_t flags, uint8_t family) {
        header.nlmsg_len = NLMSG_LENGTH(sizeof body);
        header.nlmsg_type = type;
        header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
        body.ndm_family = family;
    }
    void add(uint16_t type, const IpAddress& address) {
        const size_t size = address.family == AF_INET ? 4 : 16;
        auto* at = reinterpret_cast<rtattr*>(attributes.data());
        at->rta_type = type;
        at->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
        std::memcpy(RTA_DATA(at), address.bytes.data(), size);
        header.nlmsg_len += static_cast<uint32_t>(RTA_SPACE(size));
    }
};

struct Entry {
    int interface = 0;
    uint16_t state = 0;
};

bool is_of(const nlmsghdr& message, const IpAddress& address) {
    const auto* body = static_cast<const ndmsg*>(NLMSG_DATA(&message));
    if (body->ndm_family != address.family) return false;
    const size_t size = address.family == AF_INET ? 4 : 16;
    auto left = static_cast<int>(message.nlmsg_len - NLMSG_LENGTH(sizeof *body));
    const auto* attribute = reinterpret_cast<const rtattr*>(body + 1);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == NDA_DST && RTA_PAYLOAD(attribute) == size)
            return std::memcmp(RTA_DATA(attribute), address.bytes.data(), size) == 0;
    return false;
}

/// One datagram of a dump. False: there are no more.
bool read_some(int fd, const IpAddress& address, std::optional<Entry>& found) {
    alignas(nlmsghdr) std::array<uint8_t, 32768> buffer;
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
    if (size <= 0) return size < 0 && errno == EINTR;
    auto left = static_cast<uint32_t>(size);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) return false;
        if (message->nlmsg_type != RTM_NEWNEIGH || !is_of(*message, address)) continue;
        const auto* body = static_cast<const ndmsg*>(NLMSG_DATA(message));
        found = {body->ndm_ifindex, body->ndm_state};
    }
    return true;
}

std::optional<Entry> look_up(int fd, const IpAddress& address) {
    Message question(RTM_GETNEIGH, NLM_F_DUMP, address.family);
    if (send(fd, &question, question.header.nlmsg_len, 0) < 0) return std::nullopt;
    std::optional<Entry> found;
    while (read_some(fd, address, found)) {
    }
    return found;
}

}  // namespace

asio::awaitable<bool> somebody_is_there(asio::any_io_executor executor, HostPort at,
                                        std::chrono::milliseconds timeout) {
    const auto socket = std::make_shared<tcp::socket>(executor);
    asio::steady_timer deadline(executor, timeout);
    deadline.async_wait([socket](const asio::error_code& error) {
        asio::error_code ignored;
        if (!error) socket->close(ignored);
    });
    asio::error_code error;
    const tcp::endpoint endpoint{asio::ip::make_address(at.address.text(), error), at.port};
    co_await socket->async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
    co_return !error || error == asio::error::connection_refused;
}

Result<Neighbours> Neighbours::open() {
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return fail("netlink: {}", std::strerror(errno));
    const timeval patience{.tv_sec = 0, .tv_usec = 200'000};  // the kernel answers at once
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return Neighbours(fd);
}

Neighbours::Neighbours(Neighbours&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Neighbours::~Neighbours() {
    if (fd_ >= 0) close(fd_);
}

void Neighbours::ask(const IpAddress& address) const {
    const auto entry = look_up(fd_, address);
    if (!entry || (entry->state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY)) == 0) return;
    Message probe(RTM_NEWNEIGH, NLM_F_REPLACE, address.family);
    probe.body.ndm_ifindex = entry->interface;
    probe.body.ndm_state = NUD_PROBE;
    probe.add(NDA_DST, address);
    (void)send(fd_, &probe, probe.header.nlmsg_len, 0);
}

bool Neighbours::answers(const IpAddress& address) const {
    const auto entry = look_up(fd_, address);
    return entry && (entry->state & NUD_REACHABLE) != 0;
}

}  // namespace keyrail
