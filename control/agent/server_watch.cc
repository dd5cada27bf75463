// SPDX-License-Identifier: Apache-2.0
#include "control/agent/server_watch.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "control/agent/sock_diag.h"

namespace keyrail {

namespace {

/// Of all sockets that are closed on a busy server only those without a peer: listening ones.
bool keep_listeners_only(int fd) {
    constexpr uint32_t kPeerPort =
        NLMSG_HDRLEN + offsetof(inet_diag_msg, id) + offsetof(inet_diag_sockid, idiag_dport);
    std::array<sock_filter, 4> code = {{
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kPeerPort),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

/// Whether packets for it are taken here, be it an address of an interface or a local route: then a socket
/// can be bound to it. (Where net.ipv4.ip_nonlocal_bind is set, this says yes to all.)
bool is_here(const IpAddress& address) {
    const int fd = socket(address.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_in);
    storage.ss_family = address.family;
    if (address.is_v6()) {
        size = sizeof(sockaddr_in6);
        std::memcpy(&reinterpret_cast<sockaddr_in6&>(storage).sin6_addr, address.bytes.data(), 16);
    } else {
        std::memcpy(&reinterpret_cast<sockaddr_in&>(storage).sin_addr, address.bytes.data(), 4);
    }
    const bool bound = bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0;
    close(fd);
    return bound;
}

/// A socket that listens, as far as it matters.
struct Listening {
    HostPort at;
    bool v6_only, mptcp;

    [[nodiscard]] bool serves(const HostPort& service) const {
        if (at.port != service.port) return false;
        if (!at.address.is_any()) return at.address.unmapped() == service.address;
        return at.address.is_v6() ? service.address.is_v6() || !v6_only : !service.address.is_v6();
    }
};

}  // namespace

struct ServerWatch::Impl : std::enable_shared_from_this<ServerWatch::Impl> {
    Impl(const asio::any_io_executor& executor, SockDiag diag, int event_fd)
        : sockets(std::move(diag)), events(executor, event_fd), timer(executor) {}

    SockDiag sockets;
    asio::posix::stream_descriptor events;
    asio::steady_timer timer;
    std::function<void()> changed;
    std::set<HostPort> services;
    Servers servers;
    int looks = 0;

    void look();
    void on_event();
    void on_timer();
};

void ServerWatch::Impl::look() {
    std::vector<Listening> listening;
    const auto add = [&](const inet_diag_msg& socket, const SockDiag::Details& details) {
        listening.push_back({local_of(socket), details.v6_only, details.mptcp});
    };
    if (!sockets.dump(SockDiag::kListen, true, add)) return;  // the next look is soon
    const bool addresses_too = looks++ % kLooksPerAddresses == 0;
    Servers now;
    for (const HostPort& service : services) {
        const auto before = servers.find(service);
        const bool known = before != servers.end() && !addresses_too;
        Server& server = now[service];
        server.address_here = known ? before->second.address_here : is_here(service.address);
        bool tcp = false;
        for (const Listening& socket : listening) {
            if (!socket.serves(service)) continue;
            server.listening = true;
            tcp |= !socket.mptcp;
        }
        server.mptcp = server.listening && !tcp;
    }
    if (now == servers) return;
    servers = std::move(now);
    changed();
}

void ServerWatch::Impl::on_event() {
    events.async_wait(
        asio::posix::stream_descriptor::wait_read, [weak = weak_from_this()](const asio::error_code& error) {
            const auto self = weak.lock();
            if (error || !self) return;
            std::array<char, 4096> ignored;  // that a listener went is all we need; ENOBUFS says so too
            while (recv(self->events.native_handle(), ignored.data(), ignored.size(), 0) > 0) continue;
            self->look();
            self->on_event();
        });
}

void ServerWatch::Impl::on_timer() {
    timer.expires_after(kInterval);
    timer.async_wait([weak = weak_from_this()](const asio::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        self->look();
        self->on_timer();
    });
}

Result<std::shared_ptr<ServerWatch>> ServerWatch::open(asio::any_io_executor executor,
                                                       std::function<void()> changed) {
    constexpr uint32_t kDestroyed =
        1U << (SKNLGRP_INET_TCP_DESTROY - 1) | 1U << (SKNLGRP_INET6_TCP_DESTROY - 1);
    auto sockets = SockDiag::open();
    if (!sockets) return tl::make_unexpected(sockets.error());
    const int events = open_sock_diag(kDestroyed);
    if (events < 0) return fail("watching the servers' sockets: {}", std::strerror(errno));
    auto impl = std::make_shared<Impl>(executor, std::move(*sockets), events);
    if (!keep_listeners_only(events))
        return fail("watching the servers' sockets: filter: {}", std::strerror(errno));
    impl->changed = std::move(changed);
    impl->on_event();
    impl->on_timer();
    return std::make_shared<ServerWatch>(std::move(impl));
}

ServerWatch::ServerWatch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServerWatch::~ServerWatch() = default;

void ServerWatch::watch(std::set<HostPort> services) {
    impl_->services = std::move(services);
    impl_->looks = 0;
    impl_->look();
}

const ServerWatch::Servers& ServerWatch::servers() const { return impl_->servers; }

}  // namespace keyrail
