// SPDX-License-Identifier: Apache-2.0
#include "control/agent/filter_watch.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace keyrail {

std::shared_ptr<FilterWatch> FilterWatch::open(const asio::any_io_executor& executor,
                                               std::function<void()> changed) {
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
    if (fd < 0) return nullptr;
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    const int group = NFNLGRP_NFTABLES;
    const bool joined = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                        setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) == 0;
    if (!joined) close(fd);
    if (!joined) return nullptr;
    auto watch = std::make_shared<FilterWatch>(executor, fd, std::move(changed));
    watch->wait(watch);
    return watch;
}

void FilterWatch::wait(const std::weak_ptr<FilterWatch>& self) {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [self](const asio::error_code& error) {
        const auto watch = self.lock();
        if (error || !watch) return;
        std::array<char, 8192> ignored;  // that something changed is all we need
        while (recv(watch->events_.native_handle(), ignored.data(), ignored.size(), 0) > 0) continue;
        watch->changed_();
        watch->wait(self);
    });
}

}  // namespace keyrail
