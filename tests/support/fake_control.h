// SPDX-License-Identifier: Apache-2.0
// A chassis for tests of agents: certificates, a keyraild that does as it is told, and a loop with deadlines.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/pki/ca.h"
#include "control/protocol/listener.h"
#include "tests/support/blade_ids.h"
#include "tests/support/ports.h"

namespace keyrail::testing {

/// A directory on tmpfs with the certificates of control and of some blades.
class TestChassis {
  public:
    explicit TestChassis(uint16_t blades) {
        char name[] = "/dev/shm/keyrail-chassis-XXXXXX";
        directory_ = mkdtemp(name);
        EXPECT_TRUE(pki::init_chassis(directory_ / "pki", "test"));
        for (const BladeId id : testing::blade_ids(blades))
            EXPECT_TRUE(pki::certify(directory_ / "pki", Identity::of_blade(id)));
    }
    ~TestChassis() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    TestChassis(const TestChassis&) = delete;
    TestChassis& operator=(const TestChassis&) = delete;

    [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
    [[nodiscard]] TlsFiles files(const std::string& stem) const {
        const auto pki = directory_ / "pki";
        return {pki / "ca.pem", pki / (stem + ".pem"), pki / (stem + ".key")};
    }
    [[nodiscard]] TlsContext tls(const std::string& stem) const { return *TlsContext::load(files(stem)); }

  private:
    std::filesystem::path directory_;
};

/// Runs the loop until the condition holds; false after the deadline.
inline bool run_until(asio::io_context& io, const std::function<bool()>& condition, int milliseconds = 5000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        io.restart();
        io.run_one_for(std::chrono::milliseconds(5));
    }
    return true;
}

/// One end that takes connections, keeps what it is sent, and says what the test tells it to.
class FakeEnd {
  public:
    using Handler = std::function<void(const ChannelPtr&, const chassis::Envelope&)>;

    FakeEnd(asio::io_context& io, TlsContext tls, uint16_t port = 0) {
        const HostPort at{*parse_ip("127.0.0.1"), port};
        auto opened = Listener::open(
            io.get_executor(), std::move(tls), at,
            [this](ChannelPtr channel) { return serve(std::move(channel)); },
            [this](const Error& error) { refused.push_back(error.message); });
        EXPECT_TRUE(opened);
        listener = *opened;
    }
    /// As a process that is killed: every connection breaks.
    ~FakeEnd() {
        *alive_ = false;
        listener->close();
        for (auto& [blade, channel] : channels) channel->close();
    }
    FakeEnd(const FakeEnd&) = delete;
    FakeEnd& operator=(const FakeEnd&) = delete;

    /// Messages of this kind from this blade.
    std::vector<chassis::Envelope> of(BladeId blade, chassis::Envelope::BodyCase kind) const {
        std::vector<chassis::Envelope> found;
        for (const auto& [from, message] : received)
            if (from == blade && message.body_case() == kind) found.push_back(message);
        return found;
    }
    [[nodiscard]] HostPort address() const { return {*parse_ip("127.0.0.1"), listener->port()}; }

    std::shared_ptr<Listener> listener;
    std::map<BladeId, ChannelPtr> channels;
    std::vector<std::pair<uint16_t, chassis::Envelope>> received;
    std::vector<std::string> refused;
    Handler handler = [](const ChannelPtr&, const chassis::Envelope&) {};

  private:
    asio::awaitable<void> serve(ChannelPtr channel) {
        const auto alive = alive_;
        const BladeId blade = channel->peer().blade;
        channels[blade] = channel;
        for (;;) {
            auto message = co_await channel->receive();
            if (!*alive || !message) co_return;
            received.emplace_back(blade, *message);
            handler(channel, *message);
        }
    }

    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace keyrail::testing
