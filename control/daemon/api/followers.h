// SPDX-License-Identifier: Apache-2.0
// Clients that hear of the chassis on and on, by server-sent events: a bounded number, on the HTTP thread.
// However many they are, the daemon is asked once for all of them, and not at all when there is none.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/daemon/api/api_stream.h"

namespace keyrail {

/// What one of them wants to hear.
struct Follow {
    uint64_t since = 0;    // events with higher numbers
    bool chassis = false;  // and the whole chassis as it is, again and again
    std::string hello;     // sent first, as it is: frames of server-sent events
};

/// What there is to tell, in frames.
struct News {
    std::vector<std::pair<uint64_t, std::string>> events;  // by number, ascending
    std::string chassis;                                   // "": was not asked for
};

class Followers {
  public:
    static constexpr size_t kMax = 32;
    static constexpr std::chrono::milliseconds kEvery{200};  // events are looked for
    static constexpr std::chrono::seconds kChassisEvery{1};  // longer for what is larger than kLargeFrame
    static constexpr std::chrono::seconds kHeartbeat{2};     // a comment, where there is nothing to tell
    static constexpr std::chrono::seconds kSendTimeout{10};  // of one write
    static constexpr size_t kMostWaiting = size_t{1}
                                           << 20;  // bytes of events; more: it is too slow, and ended
    static constexpr size_t kLargeFrame = size_t{1} << 17;  // of the chassis

    /// Asks the daemon; nullopt: it gave no answer.
    using Ask = std::function<asio::awaitable<std::optional<News>>(uint64_t since, bool chassis)>;

    Followers(asio::io_context& io, Ask ask) : io_(io), ask_(std::move(ask)), pause_(io) {}

    [[nodiscard]] bool full() const { return all_.size() >= kMax; }
    /// Until the client has gone.
    asio::awaitable<void> serve(ApiStream& stream, Follow want);

  private:
    struct Follower {
        Follower(asio::io_context& io, Follow want_in) : want(std::move(want_in)), wake(io) {}
        Follow want;
        std::string events;                          // not yet sent
        std::shared_ptr<const std::string> chassis;  // likewise: only the latest counts
        asio::steady_timer wake;
        bool told_chassis = false;

        std::string take();
    };
    asio::awaitable<void> pump();
    void tell(const News& news);

    asio::io_context& io_;
    Ask ask_;
    std::list<Follower> all_;
    asio::steady_timer pause_;
    bool pumping_ = false;
    std::chrono::steady_clock::time_point next_chassis_{};
};

}  // namespace keyrail
