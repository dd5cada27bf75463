// SPDX-License-Identifier: Apache-2.0
// The metrics port of the real keyraild, where anybody may ask: what is no request costs it neither memory
// nor answers to others.
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

using testing::KeyraildBench;

class KeyraildMetrics : public KeyraildBench {
  protected:
    using tcp = asio::ip::tcp;

    KeyraildMetrics() : metrics_port(testing::free_port()) {
        std::string text = good_config();
        text.insert(text.find("[[blade]]"), fmt::format("metrics = \"127.0.0.1:{}\"\n", metrics_port));
        write_config(text);
    }
    tcp::socket connect() {
        tcp::socket socket(io);
        socket.connect({asio::ip::address_v4::loopback(), metrics_port});
        return socket;
    }
    /// Until the other end has enough of it.
    size_t flood(tcp::socket& socket, const std::string& begin, const std::string& block, size_t most) {
        asio::error_code error;
        size_t sent = asio::write(socket, asio::buffer(begin), error);
        while (!error && sent < most) sent += asio::write(socket, asio::buffer(block), error);
        return sent;
    }
    /// The status line of what comes back.
    std::string scrape(const std::string& request) {
        tcp::socket socket = connect();
        asio::error_code error;
        asio::write(socket, asio::buffer(request), error);
        std::string text;
        std::array<char, 4096> buffer{};
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        socket.non_blocking(true);
        while (!error && std::chrono::steady_clock::now() < end) {
            const size_t got = socket.read_some(asio::buffer(buffer), error);
            if (error == asio::error::would_block) {
                error = {};
                until([] { return false; }, 5);  // the dataplane and the agents go on
            }
            text.append(buffer.data(), got);
        }
        return text.substr(0, text.find('\r'));
    }
    [[nodiscard]] size_t resident_mb() const {
        std::ifstream status(fmt::format("/proc/{}/status", daemon->pid()));
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6)) / 1024;
        return 0;
    }
    uint16_t metrics_port;
};

TEST_F(KeyraildMetrics, TheMetricsPortIsNobodysMemory) {
    start_whole();
    EXPECT_EQ(scrape("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
    const size_t before = resident_mb();
    constexpr size_t kMuch = size_t{64} << 20;
    const std::string block(1 << 16, 'a');
    std::vector<tcp::socket> open;
    for (const char* begin :
         {"GET /", "GET /metrics HTTP/1.1\r\nx: ", "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
          "POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n",
          "GET /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"}) {
        open.push_back(connect());
        EXPECT_LT(flood(open.back(), begin, block, kMuch), kMuch) << begin;
    }
    EXPECT_LT(resident_mb(), before + 8);
    EXPECT_EQ(scrape("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
    EXPECT_EQ(scrape("GET /v1/status HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
}

TEST_F(KeyraildMetrics, SlowClientsBlockNobody) {
    start_whole();
    std::vector<tcp::socket> slow;
    for (int i = 0; i < 300; i++) {
        slow.push_back(connect());
        asio::write(slow.back(), asio::buffer("GET /metrics HTTP/1.1\r\n", 23));
    }
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(scrape("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
    EXPECT_EQ(keyrail({"status"}).status, 0);
}

}  // namespace
}  // namespace keyrail
