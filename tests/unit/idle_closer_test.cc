// SPDX-License-Identifier: Apache-2.0
// Closing idle connections: real ones, over loopback, whose server is this very process.
#include "control/agent/idle_closer.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace keyrail {
namespace {

/// A connection to a port of loopback: the client's and the server's end.
class Connection {
  public:
    Connection() {
        const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&at), size), 0);
        EXPECT_EQ(listen(listener, 1), 0);
        EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size), 0);
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(connect(client, reinterpret_cast<sockaddr*>(&at), size), 0);
        server = accept(listener, nullptr, nullptr);
        address = {*parse_ip("127.0.0.1"), ntohs(at.sin_port)};
        close(listener);
    }
    ~Connection() {
        close(client);
        close(server);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void talk() const {
        char byte = 'x';
        EXPECT_EQ(write(client, &byte, 1), 1);
        EXPECT_EQ(read(server, &byte, 1), 1);
    }
    /// The server has read the end.
    [[nodiscard]] bool ended() const {
        char byte;
        return recv(server, &byte, 1, MSG_DONTWAIT) == 0;
    }

    int client, server;
    HostPort address;
};

TEST(IdleCloser, ClosesWhatIsIdleAndNothingElse) {
    const Connection idle, busy, other_service, unread;
    for (const Connection* one : {&idle, &busy, &other_service}) one->talk();
    ASSERT_EQ(write(unread.client, "x", 1), 1);  // a request that its server has not read yet
    auto sockets = SockDiag::open();
    ASSERT_TRUE(sockets) << sockets.error().message;
    const std::set<HostPort> services = {idle.address, busy.address, unread.address};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    size_t closed = 0;
    while (closed == 0 && std::chrono::steady_clock::now() < deadline) {
        busy.talk();
        closed = close_idle(*sockets, services);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(closed, 1u);
    EXPECT_TRUE(idle.ended());
    EXPECT_FALSE(busy.ended());
    EXPECT_FALSE(other_service.ended());
    char byte;
    EXPECT_EQ(recv(unread.server, &byte, 1, MSG_DONTWAIT), 1) << "still there to be read";
    EXPECT_FALSE(unread.ended());
}

}  // namespace
}  // namespace keyrail
