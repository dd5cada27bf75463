// SPDX-License-Identifier: Apache-2.0
#include "control/agent/server_watch.h"

#include <linux/filter.h>
#include <linux/inet_diag.h>
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

namespace keyrail {

namespace {

constexpr uint32_t kListenState = 10;  // TCP_LISTEN of the kernel's net/tcp_states.h
constexpr size_t kBufferSize = 32768;

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

int open_netlink(uint32_t groups) {
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = groups;
    if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    const int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    return -1;
}

/// The local address of a socket; all zero: every address.
HostPort local_of(const inet_diag_msg& message) {
    const size_t size = message.idiag_family == AF_INET6 ? 16 : 4;
    return {{std::string(reinterpret_cast<const char*>(message.id.idiag_src), size)},
            ntohs(message.id.idiag_sport)};
}

bool is_any(const IpAddress& address) { return address.bytes.find_first_not_of('\0') == std::string::npos; }

}  // namespace

struct ServerWatch::Impl : std::enable_shared_from_this<ServerWatch::Impl> {
    Impl(const asio::any_io_executor& executor, int dump_fd, int event_fd)
        : dump(dump_fd), events(executor, event_fd), timer(executor) {}
    ~Impl() { close(dump); }

    int dump;
    asio::posix::stream_descriptor events;
    asio::steady_timer timer;
    std::function<void()> changed;
    std::set<HostPort> services;
    Ports ports;

    void look();
    bool ask(uint8_t family);
    bool read_answer(std::set<HostPort>& listening);
    void on_event();
    void on_timer();
};

bool ServerWatch::Impl::ask(uint8_t family) {
    struct {
        nlmsghdr header;
        inet_diag_req_v2 request;
    } message{};
    message.header.nlmsg_len = sizeof message;
    message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.request.sdiag_family = family;
    message.request.sdiag_protocol = IPPROTO_TCP;
    message.request.idiag_states = 1U << kListenState;
    return send(dump, &message, sizeof message, 0) == sizeof message;
}

/// A dump's answers are made while they are read: this never waits. False: the dump broke off.
bool ServerWatch::Impl::read_answer(std::set<HostPort>& listening) {
    alignas(nlmsghdr) std::array<char, kBufferSize> buffer;
    for (;;) {
        const ssize_t got = recv(dump, buffer.data(), buffer.size(), 0);
        if (got <= 0) return false;
        auto left = static_cast<uint32_t>(got);
        for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
             header = NLMSG_NEXT(header, left)) {
            if (header->nlmsg_type == NLMSG_DONE) return true;
            if (header->nlmsg_type == NLMSG_ERROR) return false;
            if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return false;
            listening.insert(local_of(*static_cast<const inet_diag_msg*>(NLMSG_DATA(header))));
        }
    }
}

void ServerWatch::Impl::look() {
    std::set<HostPort> listening;
    for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
        if (!ask(family) || !read_answer(listening)) return;  // the next look is soon
    }
    Ports now;
    for (const HostPort& service : services) now[service.port];
    for (const HostPort& socket : listening) {
        const auto port = now.find(socket.port);
        if (port != now.end() && (is_any(socket.address) || services.contains(socket))) port->second = true;
    }
    if (now == ports) return;
    ports = std::move(now);
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
    const int dump = open_netlink(0);
    const int events = dump < 0 ? -1 : open_netlink(kDestroyed);
    if (events < 0) {
        auto error = fail("watching the servers' sockets (NETLINK_SOCK_DIAG): {}; is the agent root?",
                          std::strerror(errno));
        if (dump >= 0) close(dump);
        return error;
    }
    auto impl = std::make_shared<Impl>(executor, dump, events);
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
    impl_->look();
}

const ServerWatch::Ports& ServerWatch::ports() const { return impl_->ports; }

}  // namespace keyrail
