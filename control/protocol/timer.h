// SPDX-License-Identifier: Apache-2.0
// A timer whose callback never runs after the timer is gone. With asio's own timers a wait that is already
// over cannot be cancelled: its handler may outlive its owner.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace keyrail {

class Timer {
  public:
    explicit Timer(const asio::any_io_executor& executor) : state_(std::make_shared<State>(executor)) {}
    ~Timer() { cancel(); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    /// Runs `callback` once, after `wait`. It replaces a callback that still waits, and may set the timer
    /// again, or destroy it.
    void after(std::chrono::microseconds wait, std::function<void()> callback) {
        state_->callback = std::move(callback);
        state_->timer.expires_after(wait);
        state_->timer.async_wait(
            [weak = std::weak_ptr(state_), number = ++state_->number](const asio::error_code&) {
                const auto state = weak.lock();
                if (!state || state->number != number) return;  // gone, cancelled, or set again
                std::exchange(state->callback, nullptr)();
            });
    }
    void cancel() {
        state_->number++;
        state_->callback = nullptr;
        state_->timer.cancel();
    }
    /// A callback waits.
    [[nodiscard]] bool running() const { return state_->callback != nullptr; }

  private:
    struct State {
        explicit State(const asio::any_io_executor& executor) : timer(executor) {}
        asio::steady_timer timer;
        std::function<void()> callback;
        uint64_t number = 0;  // of the latest wait
    };
    std::shared_ptr<State> state_;
};

}  // namespace keyrail
