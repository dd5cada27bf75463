// SPDX-License-Identifier: Apache-2.0
// Questions that wait for their answers: a coroutine waits for the reply with its request number, with a
// deadline. A reply belongs to the connection that the question went by: no other one can answer it.
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

    /// `whom` is asked: for the error message. `by`: the connection, if there are several.
    asio::awaitable<Result<Reply>> wait(uint64_t request, std::string whom, std::chrono::milliseconds timeout,
                                        const void* by = nullptr) {
        asio::steady_timer timer(executor_, timeout);
        Waiting waiting{&timer, by, std::nullopt};
        waiting_.emplace(request, &waiting);
        asio::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        waiting_.erase(request);
        if (waiting.reply) co_return std::move(*waiting.reply);
        co_return fail("{} did not answer within {} ms", whom, timeout.count());
    }

    /// An answer that nobody waits for (any more), or that others were asked for, is dropped.
    void deliver(uint64_t request, Result<Reply> reply, const void* by = nullptr) {
        const auto found = waiting_.find(request);
        if (found == waiting_.end() || found->second->by != by) return;
        found->second->reply = std::move(reply);
        found->second->timer->cancel();
    }

    /// The other side of this connection is gone.
    void fail_all(const Error& error, const void* by = nullptr) {
        for (auto& [request, waiting] : waiting_) {
            if (waiting->by != by) continue;
            waiting->reply = tl::make_unexpected(error);
            waiting->timer->cancel();
        }
    }

  private:
    struct Waiting {
        asio::steady_timer* timer;
        const void* by;
        std::optional<Result<Reply>> reply;
    };
    asio::any_io_executor executor_;
    uint64_t last_ = 0;
    std::map<uint64_t, Waiting*> waiting_;
};

}  // namespace keyrail
