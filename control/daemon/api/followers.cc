// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/followers.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <utility>

namespace keyrail {

namespace {

constexpr std::string_view kHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n";
constexpr std::string_view kNothing = ":\n\n";

}  // namespace

std::string Followers::Follower::take() {
    std::string text = std::exchange(events, {});
    if (const auto latest = std::exchange(chassis, {})) text += *latest;
    return text;
}

asio::awaitable<void> Followers::serve(ApiStream& stream, Follow want) {
    const auto me = all_.emplace(all_.end(), io_, std::move(want));
    if (!std::exchange(pumping_, true))
        asio::co_spawn(io_, pump(), asio::detached);
    else
        pause_.cancel();  // not to wait for the next round
    asio::error_code error;
    std::string text = std::string(kHead) + me->want.hello;
    while (!error && me->events.size() <= kMostWaiting) {
        stream.limit(kSendTimeout);
        co_await stream.write(text, error);
        stream.no_limit();
        text = me->take();
        if (error || !text.empty()) continue;
        asio::error_code ignored;
        me->wake.expires_after(kHeartbeat);
        co_await me->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        text = me->take();
        if (text.empty()) text = kNothing;
    }
    all_.erase(me);
}

asio::awaitable<void> Followers::pump() {
    using Clock = std::chrono::steady_clock;
    while (!all_.empty()) {
        const bool due = Clock::now() >= next_chassis_;
        uint64_t since = UINT64_MAX;
        bool chassis = false;
        for (const Follower& one : all_) {
            since = std::min(since, one.want.since);
            chassis = chassis || (one.want.chassis && (due || !one.told_chassis));
        }
        if (const auto news = co_await ask_(since, chassis)) tell(*news);
        asio::error_code ignored;
        pause_.expires_after(kEvery);
        co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    pumping_ = false;
}

void Followers::tell(const News& news) {
    std::shared_ptr<const std::string> chassis;
    if (!news.chassis.empty()) {
        chassis = std::make_shared<const std::string>(news.chassis);
        next_chassis_ = std::chrono::steady_clock::now() +
                        kChassisEvery * static_cast<int>(1 + chassis->size() / kLargeFrame);
    }
    for (Follower& one : all_) {
        for (const auto& [id, frame] : news.events) {
            if (id <= one.want.since) continue;
            one.events += frame;
            one.want.since = id;
        }
        if (one.want.chassis && chassis) {
            one.chassis = chassis;
            one.told_chassis = true;
        }
        if (!one.events.empty() || one.chassis) one.wake.cancel();
    }
}

}  // namespace keyrail
