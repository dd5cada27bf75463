// SPDX-License-Identifier: Apache-2.0
// A redis-server of a test's own, on loopback.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/repository/redis_connection.h"
#include "tests/support/ports.h"
#include "tests/support/process.h"

namespace keyrail::testing {

using Words = std::vector<std::string>;

/// Asks again and again, for some seconds.
template <typename Condition>
bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(15);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

/// A free port for a server of a cluster: its bus is 10000 ports higher.
inline uint16_t free_redis_port() {
    constexpr uint16_t kBus = 10000;
    for (;;)
        if (const uint16_t port = free_port();
            port < UINT16_MAX - kBus && free_port(static_cast<uint16_t>(port + kBus)) != 0)
            return port;
}

/// Killed at the end.
class RedisServer {
  public:
    explicit RedisServer(const std::filesystem::path& directory, const Words& more = {}, bool tls = false)
        : at_{*parse_ip("127.0.0.1"), free_redis_port()}, directory_(directory / std::to_string(at_.port)) {
        std::filesystem::create_directory(directory_);
        words_ = {"/usr/bin/redis-server",
                  "--bind",
                  "127.0.0.1",
                  "--save",
                  "",
                  "--dir",
                  directory_,
                  tls ? "--tls-port" : "--port",
                  std::to_string(at_.port)};
        if (tls) words_.insert(words_.end(), {"--port", "0"});
        words_.insert(words_.end(), more.begin(), more.end());
        start();
    }

    void start() { process_ = std::make_unique<Process>(words_, directory_ / "log"); }
    void kill() { process_.reset(); }
    /// Asks it, as often as it takes until it is up.
    std::string ask(const RedisCommand& command, const RedisAccess& access = {}) {
        std::string said;
        EXPECT_TRUE(eventually([&] {
            auto connection = RedisConnection::open(at_, access);
            if (!connection) return false;
            auto replies = (*connection)->run({&command, 1});
            if (!replies) return false;
            const redisReply& reply = *replies->front();
            said = reply.type == REDIS_REPLY_INTEGER ? std::to_string(reply.integer)
                                                     : std::string(text_of(reply));
            return !is_error(reply, "LOADING");
        }));
        return said;
    }
    [[nodiscard]] const HostPort& at() const { return at_; }

  private:
    HostPort at_;
    std::filesystem::path directory_;
    Words words_;
    std::unique_ptr<Process> process_;
};

}  // namespace keyrail::testing
