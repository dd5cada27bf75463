// SPDX-License-Identifier: Apache-2.0
// Questions that wait for their answers: a coroutine waits for the reply with its request number, with a
// deadline.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "dataplane/common/result.h"

namespace keyrail {

/// Outlives every wait() (the daemon's io_context stops first). One thread.
template <typename Reply>
class Replies {
  public:
    explicit Replies(asio::any_io_executor executor) : executor_(std::move(executor)) {}

    /// The number for the next request.
    uint64_t next() { return ++last_; }

    /// `whom` is asked: for the error message.
    asio::awaitable<Result<Reply>> wait(uint64_t request, std::string whom,
                                        std::chrono::milliseconds timeout) {
        asio::steady_timer timer(executor_, timeout);
        Waiting waiting{&timer, std::nullopt};
        waiting_.emplace(request, &waiting);
        asio::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        waiting_.erase(request);
        if (waiting.reply) co_return std::move(*waiting.reply);
        co_return fail("{} did not answer within {} ms", whom, timeout.count());
    }

    /// An answer nobody waits for any more is dropped.
    void deliver(uint64_t request, Result<Reply> reply) {
        const auto found = waiting_.find(request);
        if (found == waiting_.end()) return;
        found->second->reply = std::move(reply);
        found->second->timer->cancel();
    }

    /// The other side is gone.
    void fail_all(const Error& error) {
        for (auto& [request, waiting] : waiting_) {
            waiting->reply = tl::make_unexpected(error);
            waiting->timer->cancel();
        }
    }

  private:
    struct Waiting {
        asio::steady_timer* timer;
        std::optional<Result<Reply>> reply;
    };
    asio::any_io_executor executor_;
    uint64_t last_ = 0;
    std::map<uint64_t, Waiting*> waiting_;
};

}  // namespace keyrail
