// SPDX-License-Identifier: Apache-2.0
// Who listens where, by the kernel's own account: family, MPTCP, and whether the address is here at all.
#include "control/agent/server_watch.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <asio/io_context.hpp>

#include "tests/support/fake_control.h"
#include "tests/support/own_network.h"

namespace keyrail {
namespace {

using testing::in_own_network;
using testing::run_until;

constexpr uint16_t kWatchedPort = 4443;
const HostPort kHere4{*parse_ip("127.0.0.1"), kWatchedPort}, kHere6{*parse_ip("::1"), kWatchedPort},
    kAbsent4{*parse_ip("198.51.100.1"), kWatchedPort}, kAbsent6{*parse_ip("2001:db8:100::1"), kWatchedPort};

/// A socket that listens at the port: at every address of the family, or at one.
class Listener4443 {
  public:
    explicit Listener4443(int family, int v6_only = 0, int protocol = IPPROTO_TCP,
                          std::optional<HostPort> at = std::nullopt)
        : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol)) {
        sockaddr_storage storage{};
        storage.ss_family = static_cast<sa_family_t>(family);
        socklen_t size = sizeof(sockaddr_in);
        if (family == AF_INET6) {
            size = sizeof(sockaddr_in6);
            EXPECT_EQ(setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only), 0);
            reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(kWatchedPort);
        } else {
            reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(kWatchedPort);
            if (at)
                std::memcpy(&reinterpret_cast<sockaddr_in&>(storage).sin_addr, at->address.bytes.data(), 4);
        }
        EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&storage), size), 0) << strerror(errno);
        EXPECT_EQ(listen(fd_, 1), 0);
    }
    ~Listener4443() { close(fd_); }
    Listener4443(const Listener4443&) = delete;
    Listener4443& operator=(const Listener4443&) = delete;

  private:
    int fd_;
};

/// What the watch says of an address: "l" somebody listens, "m" by MPTCP, "h" it is here.
std::string said(const ServerWatch& watch, const HostPort& at) {
    const auto& server = watch.servers().at(at);
    return std::string(server.listening ? "l" : "") + (server.mptcp ? "m" : "") +
           (server.address_here ? "h" : "");
}

void expect(const char* here4, const char* here6, const char* absent4) {
    asio::io_context io;
    const auto watch = ServerWatch::open(io.get_executor(), [] {});
    ASSERT_TRUE(watch) << watch.error().message;
    (*watch)->watch({kHere4, kHere6, kAbsent4, kAbsent6});
    EXPECT_EQ(said(**watch, kHere4), here4);
    EXPECT_EQ(said(**watch, kHere6), here6);
    EXPECT_EQ(said(**watch, kAbsent4), absent4);
}

TEST(ServerWatch, FamiliesAndAddresses) {
    in_own_network([] {
        expect("h", "h", "");
        {
            const Listener4443 four(AF_INET);
            expect("lh", "h", "l");
        }
        {
            const Listener4443 both(AF_INET6);
            expect("lh", "lh", "l");
        }
        {
            const Listener4443 six(AF_INET6, 1);
            expect("h", "lh", "");
            const Listener4443 four(AF_INET);
            expect("lh", "lh", "l");
        }
        const Listener4443 one(AF_INET, 0, IPPROTO_TCP, kHere4);
        expect("lh", "h", "");
    });
}

TEST(ServerWatch, MptcpIsToldFromTcp) {
    constexpr int kMptcp = 262;
    in_own_network([] {
        const int probe = socket(AF_INET, SOCK_STREAM, kMptcp);
        if (probe < 0) GTEST_SKIP() << "this kernel has no MPTCP";
        close(probe);
        {
            const Listener4443 four(AF_INET, 0, kMptcp);
            expect("lmh", "h", "lm");
        }
        const Listener4443 six(AF_INET6, 0, kMptcp);
        expect("lmh", "lmh", "lm");
    });
}

TEST(ServerWatch, NoticesThatAnAddressComesAndGoes) {
    in_own_network([] {
        asio::io_context io;
        int changes = 0;
        const auto watch = ServerWatch::open(io.get_executor(), [&] { changes++; });
        ASSERT_TRUE(watch);
        (*watch)->watch({kAbsent4});
        EXPECT_EQ(said(**watch, kAbsent4), "");
        ASSERT_EQ(std::system("ip address add 198.51.100.1/32 dev lo"), 0);
        EXPECT_TRUE(run_until(io, [&] { return said(**watch, kAbsent4) == "h"; }, 2000));
        ASSERT_EQ(std::system("ip address del 198.51.100.1/32 dev lo"), 0);
        EXPECT_TRUE(run_until(io, [&] { return said(**watch, kAbsent4).empty(); }, 2000));
        ASSERT_EQ(std::system("ip route add local 198.51.100.0/24 dev lo"), 0);
        EXPECT_TRUE(run_until(
            io, [&] { return said(**watch, kAbsent4) == "h"; }, 2000))
            << "a local route is enough";
        EXPECT_GE(changes, 3);
    });
}

}  // namespace
}  // namespace keyrail
