// SPDX-License-Identifier: Apache-2.0
// Stands between two processes that talk TLS over TCP, and can tell when a message passes: the test may then
// let it through or not, keep it for a while, and do whatever it likes in that moment. One thread: the
// test's, in poll().
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
#include <vector>

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
    /// The next message in this direction, and all behind it, is kept until release().
    void hold(Direction direction) {
        watch(direction, [this] {
            holding_ = true;
            return true;
        });
    }
    [[nodiscard]] bool holds() const { return held_ != nullptr; }
    void release() {
        watch_ = nullptr;
        if (const auto pass = std::exchange(held_, nullptr)) pass();
    }
    /// Breaks every connection, and takes no other until mend().
    void cut() {
        is_cut_ = true;
        for (const auto& pair : pairs_)
            if (const PairPtr open = pair.lock()) open->close();
        pairs_.clear();
    }
    void mend() { is_cut_ = false; }
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
            if (!is_cut_) pair->ends[1].connect(to_, refused);
            if (is_cut_ || refused) {
                pair->close();
            } else {
                pairs_.push_back(pair);
                relay(pair, 0);
                relay(pair, 1);
            }
            accept();
        });
    }
    void relay(const PairPtr& pair, size_t from) {
        pair->ends[from].async_read_some(asio::buffer(pair->buffers[from]),
                                         [this, pair, from](const asio::error_code& error, size_t size) {
                                             error ? pair->close() : look(pair, from, size);
                                         });
    }
    void look(const PairPtr& pair, size_t from, size_t size) {
        const bool wanted = watch_ && size > kMessage && (from == 0) == (direction_ == Direction::there);
        if (wanted && !std::exchange(watch_, nullptr)()) return pair->close();
        if (std::exchange(holding_, false))
            held_ = [this, pair, from, size] { pass(pair, from, size); };
        else
            pass(pair, from, size);
    }
    void pass(const PairPtr& pair, size_t from, size_t size) {
        asio::error_code broken;
        asio::write(pair->ends[1 - from], asio::buffer(pair->buffers[from], size), broken);
        broken ? pair->close() : relay(pair, from);
    }

    asio::io_context io_;
    tcp::acceptor acceptor_;
    tcp::endpoint to_;
    Direction direction_ = Direction::there;
    Watch watch_;
    bool holding_ = false;        // the message that is being looked at is to be kept
    std::function<void()> held_;  // lets it go
    bool is_cut_ = false;
    std::vector<std::weak_ptr<Pair>> pairs_;
};

}  // namespace keyrail::testing
