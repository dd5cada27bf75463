// SPDX-License-Identifier: Apache-2.0
// A network namespace for one test: a loopback and nothing else. Needs root.
#pragma once

#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

namespace keyrail::testing {

/// On a thread of its own, whose network is its own.
inline void in_own_network(const std::function<void()>& test) {
    std::thread([&] {
        ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root";
        const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq lo{};
        std::string("lo").copy(lo.ifr_name, sizeof lo.ifr_name - 1);
        ASSERT_EQ(ioctl(fd, SIOCGIFFLAGS, &lo), 0);
        lo.ifr_flags |= IFF_UP;
        ASSERT_EQ(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
        close(fd);
        test();
    }).join();
}

}  // namespace keyrail::testing
