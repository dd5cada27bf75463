// SPDX-License-Identifier: Apache-2.0
// Stands between two processes that talk TLS over TCP, and can tell when a message passes: the test may then
// let it through or not, and do whatever it likes in that moment. One thread: the test's, in poll().
#pragma once

#include <array>
#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>
#include <functional>
#include <list>
#include <memory>
#include <utility>

namespace keyrail::testing {

class Proxy {
  public:
    using tcp = asio::ip::tcp;
    enum class Direction { there, back };  // from who connects, to who connects
    /// More than a Ping in a TLS record, and less than any message that matters here.
    static constexpr size_t kMessage = 40;
    /// A message is about to pass; false: the connection breaks instead, and it is lost.
    using Watch = std::function<bool()>;

    Proxy(uint16_t listen, uint16_t to)
        : acceptor_(io_, {asio::ip::address_v4::loopback(), listen}),
          to_(asio::ip::address_v4::loopback(), to) {
        accept();
    }
    /// Called for the next message in this direction, once.
    void watch(Direction direction, Watch watch) {
        direction_ = direction;
        watch_ = std::move(watch);
    }
    [[nodiscard]] bool watching() const { return watch_ != nullptr; }
    void poll() {
        io_.restart();
        io_.poll();
    }

  private:
    struct Pair {
        explicit Pair(asio::io_context& io) : ends{tcp::socket(io), tcp::socket(io)} {}
        std::array<tcp::socket, 2> ends;  // who connected, whom it wanted
        std::array<std::array<char, 32768>, 2> buffers;
        void close() {
            asio::error_code ignored;
            for (tcp::socket& end : ends) end.close(ignored);
        }
    };
    using PairPtr = std::shared_ptr<Pair>;

    void accept() {
        const auto pair = std::make_shared<Pair>(io_);
        acceptor_.async_accept(pair->ends[0], [this, pair](const asio::error_code& error) {
            if (error) return;
            asio::error_code refused;
            pair->ends[1].connect(to_, refused);
            if (refused) {
                pair->close();
            } else {
                relay(pair, 0);
                relay(pair, 1);
            }
            accept();
        });
    }
    void relay(const PairPtr& pair, size_t from) {
        pair->ends[from].async_read_some(
            asio::buffer(pair->buffers[from]),
            [this, pair, from](const asio::error_code& error, size_t size) {
                if (error) return pair->close();
                const bool wanted =
                    watch_ && size > kMessage && (from == 0) == (direction_ == Direction::there);
                if (wanted && !std::exchange(watch_, nullptr)()) return pair->close();
                asio::error_code broken;
                asio::write(pair->ends[1 - from], asio::buffer(pair->buffers[from], size), broken);
                broken ? pair->close() : relay(pair, from);
            });
    }

    asio::io_context io_;
    tcp::acceptor acceptor_;
    tcp::endpoint to_;
    Direction direction_ = Direction::there;
    Watch watch_;
};

}  // namespace keyrail::testing
