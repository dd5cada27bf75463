// SPDX-License-Identifier: Apache-2.0
// Do servers answer? The agent's check, and servers that say something, nothing, or hang up.
#include "control/agent/server_check.h"

#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <chrono>

#include "tests/support/fake_control.h"

namespace keyrail {
namespace {

using asio::ip::tcp;
using testing::run_until;

/// Takes connections, and answers the hello with what it is given to say. `deaf`: takes none, its kernel
/// does.
class Server {
  public:
    Server(asio::io_context& io, bool deaf) : acceptor_(io, {asio::ip::address_v4::loopback(), 0}) {
        if (!deaf) accept();
    }
    [[nodiscard]] HostPort at() const { return {*parse_ip("127.0.0.1"), acceptor_.local_endpoint().port()}; }
    void accept() {
        acceptor_.async_accept([this](const asio::error_code& error, tcp::socket socket) {
            if (error) return;
            connections++;
            const auto client = std::make_shared<tcp::socket>(std::move(socket));
            client->async_read_some(asio::buffer(input_),
                                    [this, client](const asio::error_code& failed, size_t size) {
                                        if (failed) return;
                                        hello.assign(input_.data(), size);
                                        if (!says.empty()) asio::write(*client, asio::buffer(says), ignored_);
                                        kept_.push_back(client);
                                    });
            accept();
        });
    }
    std::string says, hello;
    int connections = 0;

  private:
    tcp::acceptor acceptor_;
    std::array<char, 2048> input_{};
    asio::error_code ignored_;
    std::vector<std::shared_ptr<tcp::socket>> kept_;
};

std::string server_hello(const std::string& session_id) {
    return std::string({22, 3, 3, 0, 90, 2, 0, 0, 80, 3, 3}) + std::string(32, 'r') +
           static_cast<char>(session_id.size()) + session_id;
}

class ServerCheckTest : public ::testing::Test {
  protected:
    ServerCheckTest() {
        auto created = ServerCheck::create(
            io.get_executor(), [](const SessionName& name) { return name[0] == 'o'; }, [this] { changes++; });
        EXPECT_TRUE(created);
        check = std::move(*created);
    }
    [[nodiscard]] ServerCheck::Verdict verdict(const Server& server) const {
        const auto found = check->verdicts().find(server.at());
        return found == check->verdicts().end() ? ServerCheck::Verdict{} : found->second;
    }
    asio::io_context io;
    int changes = 0;
    std::unique_ptr<ServerCheck> check;
};

TEST_F(ServerCheckTest, AServerThatAnswersShowsHowItNamesSessions) {
    Server ours(io, false), other(io, false), none(io, false);
    ours.says = server_hello(std::string(32, 'o'));
    other.says = server_hello(std::string(32, 'x'));
    none.says = server_hello("");
    check->watch({ours.at(), other.at(), none.at()});
    ASSERT_TRUE(run_until(io, [&] { return verdict(none).hooks != Hooks::unknown && changes >= 3; }));
    EXPECT_EQ(verdict(ours).hooks, Hooks::present);
    EXPECT_EQ(verdict(other).hooks, Hooks::absent);
    EXPECT_EQ(verdict(none).hooks, Hooks::absent);
    EXPECT_FALSE(verdict(ours).hangs);
    EXPECT_EQ(ours.hello[0], 22) << "a ClientHello";
    check->watch({});
    EXPECT_TRUE(check->verdicts().empty());
}

TEST_F(ServerCheckTest, OneThatRefusesIsThereToo) {
    Server server(io, false);
    server.says = std::string({21, 3, 3, 0, 2, 2, 70});  // protocol_version
    check->watch({server.at()});
    ASSERT_TRUE(run_until(io, [&] { return server.connections >= 1; }));
    const std::string first = server.hello;
    ASSERT_TRUE(run_until(io, [&] { return server.connections >= 2 && server.hello != first; }));
    EXPECT_FALSE(verdict(server).hangs);
    EXPECT_EQ(verdict(server).hooks, Hooks::unknown);
}

TEST_F(ServerCheckTest, AnOpenPortIsNotAServer) {
    Server deaf(io, true), mute(io, false);
    check->watch({deaf.at(), mute.at()});
    const auto begin = std::chrono::steady_clock::now();
    run_until(io, [] { return false; }, 2300);
    EXPECT_FALSE(verdict(deaf).hangs) << "once may be a busy moment";
    ASSERT_TRUE(run_until(io, [&] { return verdict(deaf).hangs && verdict(mute).hangs; }, 6000));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(6500));
    mute.says = server_hello("");
    deaf.says = server_hello("");
    deaf.accept();
    EXPECT_TRUE(run_until(io, [&] { return !verdict(deaf).hangs && !verdict(mute).hangs; }, 4000));
}

TEST_F(ServerCheckTest, OneThatHasGoneHangsNot) {
    HostPort nobody;
    {
        const Server server(io, true);
        nobody = server.at();
    }
    check->watch({nobody});
    run_until(io, [] { return false; }, 3000);
    EXPECT_FALSE(check->verdicts().at(nobody).hangs);
}

}  // namespace
}  // namespace keyrail
