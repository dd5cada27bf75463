// SPDX-License-Identifier: Apache-2.0
// What systemd hears of a daemon with a loop: on a socket of the test's own, as sd_notify(3) says it.
#include "control/protocol/pulse.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace keyrail {
namespace {

using namespace std::chrono_literals;

struct PulseTest : ::testing::Test {
    PulseTest() {
        const std::string name = "/keyrail-pulse-test-" + std::to_string(getpid());
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        name.copy(&at.sun_path[1], sizeof at.sun_path - 2);  // abstract: nothing is left
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        EXPECT_EQ(bind(systemd, reinterpret_cast<const sockaddr*>(&at), size), 0);
        setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
        setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
        setenv("WATCHDOG_USEC", "30000", 1);
    }
    ~PulseTest() override {
        for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}) unsetenv(name);
        close(systemd);
    }

    /// How often it was told this so far.
    int heard(const std::string& what) {
        std::array<char, 256> word{};
        for (ssize_t size = 0; (size = recv(systemd, word.data(), word.size(), MSG_DONTWAIT)) > 0;)
            words.emplace_back(word.data(), static_cast<size_t>(size));
        return static_cast<int>(std::ranges::count(words, what));
    }

    const int systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    std::vector<std::string> words;
    asio::io_context io;
};

TEST_F(PulseTest, ReadyThenAliveThenStopping) {
    std::optional<Pulse> pulse(std::in_place, io.get_executor());
    EXPECT_EQ(heard("READY=1"), 1);
    io.run_for(100ms);  // 10 ms each: a third of the limit
    EXPECT_GE(heard("WATCHDOG=1"), 3);
    EXPECT_EQ(heard("STOPPING=1"), 0);
    pulse.reset();
    EXPECT_EQ(heard("STOPPING=1"), 1);
}

TEST_F(PulseTest, ALoopThatHangsSaysNothing) {
    const Pulse pulse(io.get_executor());
    const int before = heard("WATCHDOG=1");
    asio::post(io, [] { std::this_thread::sleep_for(60ms); });
    io.run_one();
    EXPECT_EQ(heard("WATCHDOG=1"), before);
}

TEST_F(PulseTest, WithoutAWatchdogOnlyReady) {
    unsetenv("WATCHDOG_USEC");
    const Pulse pulse(io.get_executor());
    EXPECT_EQ(heard("READY=1"), 1);
    EXPECT_EQ(io.run_for(1s), 0U);  // nothing waits: no timer is set
    EXPECT_EQ(heard("WATCHDOG=1"), 0);
}

TEST_F(PulseTest, ByHandNothing) {
    unsetenv("NOTIFY_SOCKET");
    {
        const Pulse pulse(io.get_executor());
    }
    EXPECT_EQ(heard("READY=1") + heard("STOPPING=1"), 0);
}

}  // namespace
}  // namespace keyrail
