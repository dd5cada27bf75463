// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sock_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace keyrail {

namespace {

constexpr size_t kBufferSize = 32768;

/// About TCP sockets in these states.
struct Question {
    nlmsghdr header{};
    inet_diag_req_v2 request{};

    Question(uint8_t family, uint32_t states) {
        header.nlmsg_len = sizeof *this;
        header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
        header.nlmsg_flags = NLM_F_REQUEST;
        request.sdiag_family = family;
        request.sdiag_protocol = IPPROTO_TCP;
        request.idiag_states = states;
    }
};

template <typename Use>
void each_attribute(const rtattr* attribute, int left, Use use) {
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) use(*attribute);
}

bool is_mptcp(const rtattr& ulp) {
    bool found = false;
    each_attribute(static_cast<const rtattr*>(RTA_DATA(&ulp)), static_cast<int>(RTA_PAYLOAD(&ulp)),
                   [&](const rtattr& attribute) {
                       found |= attribute.rta_type == INET_ULP_INFO_NAME && RTA_PAYLOAD(&attribute) >= 5 &&
                                std::memcmp(RTA_DATA(&attribute), "mptcp", 5) == 0;
                   });
    return found;
}

/// The attributes of a message. `info` is where tcp_info is copied to: an older kernel's is shorter.
SockDiag::Details read_details(const nlmsghdr& header, tcp_info& info) {
    SockDiag::Details details;
    const auto* message = static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
    const auto left = static_cast<int>(header.nlmsg_len - NLMSG_LENGTH(sizeof *message));
    each_attribute(reinterpret_cast<const rtattr*>(message + 1), left, [&](const rtattr& attribute) {
        const uint16_t type = attribute.rta_type & NLA_TYPE_MASK;
        if (type == INET_DIAG_INFO) {
            info = {};
            std::memcpy(&info, RTA_DATA(&attribute), std::min<size_t>(RTA_PAYLOAD(&attribute), sizeof info));
            details.info = &info;
        } else if (type == INET_DIAG_SKV6ONLY && RTA_PAYLOAD(&attribute) >= 1) {
            details.v6_only = *static_cast<const uint8_t*>(RTA_DATA(&attribute)) != 0;
        } else if (type == INET_DIAG_ULP_INFO) {
            details.mptcp = is_mptcp(attribute);
        }
    });
    return details;
}

}  // namespace

int open_sock_diag(uint32_t groups) {
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

HostPort local_of(const inet_diag_msg& message) {
    HostPort local{{.family = message.idiag_family}, ntohs(message.id.idiag_sport)};
    std::memcpy(local.address.bytes.data(), message.id.idiag_src, local.address.size());
    return local;
}

Result<SockDiag> SockDiag::open() {
    const int fd = open_sock_diag(0);
    if (fd < 0)
        return fail("looking at the servers' sockets (NETLINK_SOCK_DIAG): {}; is the agent root?",
                    std::strerror(errno));
    return SockDiag(fd);
}

SockDiag::SockDiag(SockDiag&& other) noexcept : fd_(std::exchange(other.fd_, -1)), number_(other.number_) {}

SockDiag::~SockDiag() {
    if (fd_ >= 0) close(fd_);
}

bool SockDiag::ask(uint8_t family, uint32_t states, bool with_info) const {
    Question message(family, states);
    message.header.nlmsg_flags |= NLM_F_DUMP;
    if (with_info) message.request.idiag_ext = 1U << (INET_DIAG_INFO - 1);
    return send(fd_, &message, sizeof message, 0) == sizeof message;
}

/// A dump's answers are made while they are read: this never waits.
bool SockDiag::read_answer(const Use& use) const {
    alignas(nlmsghdr) std::array<char, kBufferSize> buffer;
    for (;;) {
        const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
        if (got <= 0) return false;
        auto left = static_cast<uint32_t>(got);
        for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
             header = NLMSG_NEXT(header, left)) {
            if (header->nlmsg_type == NLMSG_DONE) return true;
            if (header->nlmsg_type == NLMSG_ERROR) return false;
            if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return false;
            tcp_info info;
            use(*static_cast<const inet_diag_msg*>(NLMSG_DATA(header)), read_details(*header, info));
        }
    }
}

SockDiag::Found SockDiag::find(const HostPort& local, const HostPort& peer) {
    if (local.address.family != peer.address.family) return {};
    Question message(local.address.family, ~0U);
    message.request.idiag_ext = 1U << (INET_DIAG_INFO - 1);
    message.header.nlmsg_seq = ++number_;
    inet_diag_sockid& id = message.request.id;
    id.idiag_sport = htons(local.port);
    id.idiag_dport = htons(peer.port);
    std::memcpy(id.idiag_src, local.address.bytes.data(), local.address.size());
    std::memcpy(id.idiag_dst, peer.address.bytes.data(), peer.address.size());
    id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (send(fd_, &message, sizeof message, 0) != sizeof message) return {};
    return read_found(number_);
}

/// The kernel answers while it is asked: this never waits. What is left of an older question is passed over.
SockDiag::Found SockDiag::read_found(uint32_t number) const {
    constexpr uint8_t kTimeWait = 6, kListens = 10;  // net/tcp_states.h
    alignas(nlmsghdr) std::array<char, kBufferSize> buffer;
    for (;;) {
        const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
        if (got <= 0) return {};
        const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
        if (!NLMSG_OK(header, static_cast<uint32_t>(got)) || header->nlmsg_seq != number) continue;
        if (header->nlmsg_type == NLMSG_ERROR && header->nlmsg_len >= NLMSG_LENGTH(sizeof(nlmsgerr))) {
            const int error = static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
            return {error == -ENOENT ? Presence::absent : Presence::unknown};
        }
        if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return {};
        const uint8_t state = static_cast<const inet_diag_msg*>(NLMSG_DATA(header))->idiag_state;
        if (state == kListens) return {Presence::absent};
        if (state == kTimeWait) return {Presence::time_wait};
        tcp_info info;
        const Details details = read_details(*header, info);
        const uint32_t heard_ms =
            details.info ? std::min(info.tcpi_last_data_recv, info.tcpi_last_ack_recv) : UINT32_MAX;
        return {Presence::present, heard_ms};
    }
}

bool SockDiag::dump(uint32_t states, bool with_info, const Use& use) {
    for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}})
        if (!ask(family, states, with_info) || !read_answer(use)) return false;
    return true;
}

}  // namespace keyrail
